"""One bundle, one answer: whichever way pictures are asked about, they get what evaluate reported."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import endpoint_world
import judged
import miniature
import pytest
import served
import ways
from PIL import Image

from plantdoc import bundle, coco, parity
from plantdoc.api import function

pytestmark = pytest.mark.slow
COUNT = 50


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Evaluate and deploy have run, on test pictures of which half are JPEGs, some of them turned by their EXIF."""
    folder = judged.make(tmp_path_factory.mktemp("ways"))
    test = folder / "data/raw/test"
    shutil.rmtree(test)
    pictures = judged.write_split(test, COUNT, seed=2).pictures
    renamed = [turned(test, picture) if picture.id % 2 else picture for picture in pictures]
    coco.save(coco.Split(judged.CLASSES, tuple(renamed)), test)
    judged.save_untrained(folder / "models/detector")
    for stage in ("evaluate", "deploy"):
        judged.run(folder, stage)
    return folder


def turned(folder: Path, picture: coco.Picture) -> coco.Picture:
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
    return coco.Picture(picture.id, str(name), picture.width, picture.height, picture.boxes)


@pytest.fixture(scope="module")
def split(workspace) -> coco.Split:
    return coco.load(workspace / "data/raw/test")


def same(folder: Path, answered: list[dict], split: coco.Split) -> None:
    """`answered` is what evaluate predicted in `folder` about the pictures of `split`."""
    expected = json.loads((folder / "results/evaluate/predictions.json").read_text())
    config = SimpleNamespace(**json.loads((folder / "models/detector/config.json").read_text()))
    assert len(expected) > len(split.pictures)
    assert parity.differences(expected, answered, config, split, [picture.id for picture in split.pictures]) == []


def test_the_local_server_answers_as_evaluated_by_each_content_type(tmp_path):
    folder = miniature.finished(tmp_path / "repository")
    split = coco.load(folder / "data/raw/test")
    split = coco.Split(split.classes, split.pictures[:6])
    with served.running(folder / "models/bundle/model.tar.gz") as server:
        for name, ask in ways.of_server(server):
            same(folder, ways.through(ask, folder / "data/raw/test", split.pictures), split)
            print(f"{name}: same")


@pytest.mark.full
def test_the_saved_model(workspace, split, tmp_path):
    bundle.unpack(workspace / "models/bundle/model.tar.gz", tmp_path)
    ids = [picture.id for picture in split.pictures]
    same(workspace, bundle.ask(tmp_path / "1", workspace / "data/raw/test", ids, 2), split)


@pytest.mark.full
def test_the_local_server_by_each_content_type(workspace, split):
    with served.running(workspace / "models/bundle/model.tar.gz") as server:
        for name, ask in ways.of_server(server):
            same(workspace, ways.through(ask, workspace / "data/raw/test", split.pictures), split)
            print(f"{name}: same")


@pytest.mark.full
def test_the_endpoint_and_the_public_api(workspace, split, tmp_path, monkeypatch):
    stock = endpoint_world.Stock(tmp_path / "stock")
    shutil.copytree(workspace / "models/bundle", stock.folder / "good")
    shutil.copytree(workspace / "data/raw/test", stock.folder / "test")
    shutil.copyfile(workspace / "results/evaluate/predictions.json", stock.folder / "predictions.json")
    with (
        endpoint_world.account() as aws,
        endpoint_world.entered(aws, stock, tmp_path / "workspace", monkeypatch) as world,
    ):
        world.deploy(stock.good, force=True)  # it has learned nothing
        monkeypatch.setenv("ENDPOINT", endpoint_world.NAME)
        monkeypatch.setenv("ACCESS", "open")
        function._client.cache_clear()
        for name, ask in (
            *ways.of_endpoint(aws.client("sagemaker-runtime"), endpoint_world.NAME),
            *ways.of_function(function.handler),
        ):
            same(workspace, ways.through(ask, workspace / "data/raw/test", split.pictures), split)
            print(f"{name}: same")


@pytest.mark.full
def test_the_stage_serves_what_it_has_made_and_a_refusal_is_no_failure(workspace, tmp_path, monkeypatch):
    folder = shutil.copytree(workspace, tmp_path / "copy")
    (folder / "scripts").symlink_to(miniature.ROOT / "scripts")
    stock = endpoint_world.Stock(tmp_path / "stock")
    for name in ("good", "test"):
        (stock.folder / name).mkdir(parents=True)
    (stock.folder / "predictions.json").write_text("[]")
    (stock.folder / "good/model.tar.gz").touch()
    with (
        endpoint_world.account() as aws,
        endpoint_world.entered(aws, stock, tmp_path / "workspace", monkeypatch) as world,
    ):
        shutil.copytree(world.folder / ".dvc", folder / ".dvc")
        miniature.set_params(folder, deploy__target="sagemaker")
        refused = judged.run(folder, "deploy").stdout  # it has learned nothing
        assert "is refused: its test mAP@50 is 0.0" in refused and "the bundle is made and kept" in refused
        assert world.present() == {} and (folder / "models/bundle/model.tar.gz").is_file()
        miniature.set_params(folder, serve__min_map50=0.0, deploy__behaviour_pictures=0)
        served = judged.run(folder, "deploy").stdout
        assert "4 test pictures answered as by results/evaluate/predictions.json" in served
        assert world.present()["endpoints"] == [endpoint_world.NAME]


@pytest.mark.full
def test_another_encoding_has_the_same_pixels(workspace, split):
    for picture in split.pictures[:10]:
        data = (workspace / "data/raw/test" / picture.file_name).read_bytes()
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
            with (
                Image.open(io.BytesIO(ways.encoded(data, kind, **options))) as other,
                Image.open(io.BytesIO(data)) as one,
            ):
                assert other.convert("RGB").tobytes() == one.convert("RGB").tobytes()
                assert other.getexif().get(0x0112) == one.getexif().get(0x0112)
