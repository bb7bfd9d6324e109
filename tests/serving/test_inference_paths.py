"""One bundle, one answer: whichever way pictures are asked about, they get what evaluate reported."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import evaluated_repo
import fake_sagemaker_account
import inference_paths
import pytest
import running_server
import small_repo
from PIL import Image

from plantdoc.coco import dataset
from plantdoc.deploy import bundle, parity
from plantdoc.public_api import lambda_function

pytestmark = pytest.mark.slow
COUNT = 50


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Evaluate and deploy have run, on test pictures of which half are JPEGs, some of them turned by their EXIF."""
    folder = evaluated_repo.make(tmp_path_factory.mktemp("ways"))
    test = folder / "data/raw/test"
    shutil.rmtree(test)
    pictures = evaluated_repo.write_split(test, COUNT, seed=2).pictures
    renamed = [turned(test, picture) if picture.id % 2 else picture for picture in pictures]
    dataset.save(dataset.Split(evaluated_repo.CLASSES, tuple(renamed)), test)
    evaluated_repo.save_untrained(folder / "models/detector")
    for stage in ("evaluate", "deploy"):
        evaluated_repo.run(folder, stage)
    return folder


def turned(folder: Path, picture: dataset.Picture) -> dataset.Picture:
    """The picture as a JPEG that a camera took lying on its side, every fifth of them."""
    name = Path(picture.file_name).with_suffix(".jpg")
    tags = Image.Exif()
    if picture.id % 5 == 0:
        tags[0x0112] = 6
    with Image.open(folder / picture.file_name) as image:
        if picture.id % 5 == 0:
            image = image.transpose(Image.Transpose.ROTATE_90)
        image.save(folder / name, quality=92, exif=tags)
    (folder / picture.file_name).unlink()
    return dataset.Picture(picture.id, str(name), picture.width, picture.height, picture.boxes)


@pytest.fixture(scope="module")
def split(workspace) -> dataset.Split:
    return dataset.load(workspace / "data/raw/test")


def same(folder: Path, answered: list[dict], split: dataset.Split) -> None:
    """`answered` is what evaluate predicted in `folder` about the pictures of `split`."""
    expected = json.loads((folder / "results/evaluate/predictions.json").read_text())
    config = SimpleNamespace(**json.loads((folder / "models/detector/config.json").read_text()))
    assert len(expected) > len(split.pictures)
    assert parity.differences(expected, answered, config, split, [picture.id for picture in split.pictures]) == []


@pytest.mark.full
def test_the_local_server_answers_as_evaluated_by_each_content_type(tmp_path):
    folder = small_repo.finished(tmp_path / "repository")
    split = dataset.load(folder / "data/raw/test")
    split = dataset.Split(split.classes, split.pictures[:6])
    with running_server.running(folder / "models/bundle/model.tar.gz") as server:
        for name, ask in inference_paths.of_server(server):
            same(folder, inference_paths.through(ask, folder / "data/raw/test", split.pictures), split)
            print(f"{name}: same")


@pytest.mark.full
def test_the_saved_model(workspace, split, tmp_path):
    bundle.unpack(workspace / "models/bundle/model.tar.gz", tmp_path)
    ids = [picture.id for picture in split.pictures]
    same(workspace, bundle.ask(tmp_path / "1", workspace / "data/raw/test", ids, 2), split)


@pytest.mark.full
def test_the_local_server_by_each_content_type(workspace, split):
    with running_server.running(workspace / "models/bundle/model.tar.gz") as server:
        for name, ask in inference_paths.of_server(server):
            same(workspace, inference_paths.through(ask, workspace / "data/raw/test", split.pictures), split)
            print(f"{name}: same")


@pytest.mark.full
def test_the_endpoint_and_the_public_api(workspace, split, tmp_path, monkeypatch):
    stock = fake_sagemaker_account.Stock(tmp_path / "stock")
    shutil.copytree(workspace / "models/bundle", stock.folder / "good")
    shutil.copytree(workspace / "data/raw/test", stock.folder / "test")
    shutil.copyfile(workspace / "results/evaluate/predictions.json", stock.folder / "predictions.json")
    with (
        fake_sagemaker_account.account() as aws,
        fake_sagemaker_account.entered(aws, stock, tmp_path / "workspace", monkeypatch) as world,
    ):
        world.deploy(stock.good, force=True)  # it has learned nothing
        monkeypatch.setenv("ENDPOINT", fake_sagemaker_account.NAME)
        monkeypatch.setenv("ACCESS", "open")
        lambda_function._client.cache_clear()
        for name, ask in (
            *inference_paths.of_endpoint(aws.client("sagemaker-runtime"), fake_sagemaker_account.NAME),
            *inference_paths.of_function(lambda_function.handler),
        ):
            same(workspace, inference_paths.through(ask, workspace / "data/raw/test", split.pictures), split)
            print(f"{name}: same")


@pytest.mark.full(70)
def test_the_stage_serves_what_it_has_made_and_a_refusal_is_no_failure(workspace, tmp_path, monkeypatch):
    folder = shutil.copytree(workspace, tmp_path / "copy")
    (folder / "scripts").symlink_to(small_repo.ROOT / "scripts")
    stock = fake_sagemaker_account.Stock(tmp_path / "stock")
    for name in ("good", "test"):
        (stock.folder / name).mkdir(parents=True)
    (stock.folder / "predictions.json").write_text("[]")
    (stock.folder / "good/model.tar.gz").touch()
    with (
        fake_sagemaker_account.account() as aws,
        fake_sagemaker_account.entered(aws, stock, tmp_path / "workspace", monkeypatch) as world,
    ):
        shutil.copytree(world.folder / ".dvc", folder / ".dvc")
        small_repo.set_params(folder, deploy__target="sagemaker")
        refused = evaluated_repo.run(folder, "deploy").stdout  # it has learned nothing
        assert "is refused: its test mAP@50 is 0.0" in refused and "the bundle is made and kept" in refused
        assert world.present() == {} and (folder / "models/bundle/model.tar.gz").is_file()
        small_repo.set_params(folder, serve__min_map50=0.0, deploy__behaviour_pictures=0)
        served = evaluated_repo.run(folder, "deploy").stdout
        assert "4 test pictures answered as by results/evaluate/predictions.json" in served
        assert world.present()["endpoints"] == [fake_sagemaker_account.NAME]


@pytest.mark.full
def test_another_encoding_has_the_same_pixels(workspace, split):
    for picture in split.pictures[:10]:
        data = (workspace / "data/raw/test" / picture.file_name).read_bytes()
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
            with (
                Image.open(io.BytesIO(inference_paths.encoded(data, kind, **options))) as other,
                Image.open(io.BytesIO(data)) as one,
            ):
                assert other.convert("RGB").tobytes() == one.convert("RGB").tobytes()
                assert other.getexif().get(0x0112) == one.getexif().get(0x0112)
