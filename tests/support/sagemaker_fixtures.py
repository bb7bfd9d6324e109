"""Fixtures for endpoints on SageMaker, for modules that name this one in `pytest_plugins`."""

from __future__ import annotations

import fake_sagemaker_account
import pytest


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Bundles to deploy, and the pictures that they are tried on."""
    return fake_sagemaker_account.make_stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def sagemaker_account():
    """An account of AWS, shared by the tests of a module."""
    with fake_sagemaker_account.account() as aws:
        yield aws


@pytest.fixture
def world(sagemaker_account, stock, tmp_path, monkeypatch):
    """That account without an endpoint, and a workspace to deploy from."""
    with fake_sagemaker_account.entered(sagemaker_account, stock, tmp_path / "workspace", monkeypatch) as world:
        yield world
