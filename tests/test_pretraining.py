"""Pretraining: what is read is measured in the very image, and no woman is scored by what has learned from her."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from test_cli import deepqct

from deepqct.bones import Bone, measure
from deepqct.folder import Run, read_json, read_table, write_json, write_table
from deepqct.networks import Pretraining, Recipe, frozen_features, load_reader, pretrain, pretraining, train_fold
from deepqct.networks.backbones import network
from deepqct.networks.folds import scans_of, scans_seen
from deepqct.networks.images import bone_images, normalised
from deepqct.networks.pretraining import Reader, agreement, one_cycle
from deepqct.networks.stream import CROPS, Seen, Stream, as_seen, cut_image, from_piece, from_stack, targets_of, turned
from deepqct.networks.structure import TARGETS, structure_of
from deepqct.reach import PACKAGE, code_reached
from deepqct.run.example import RECIPE, example_run
from deepqct.virtual.pieces import draw_piece

FEW = Pretraining(arch="resnet18", samples=48, batch_size=16, pixels=32)
EVERYWHERE = (slice(None), slice(None), slice(None))


@pytest.fixture(scope="module")
def piece() -> Bone:
    """A piece of bone with trabeculae, a cortex, and pores."""
    pieces = (draw_piece(np.random.default_rng([1, i]), edge=80, slices=9) for i in range(40))
    return next(p for p in pieces if (measure(p)[["Tb.Th", "Ct.Po"]] > 0.01).all() and p.cortical.mean() > 0.1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that learned from a few virtual pieces."""
    return pretrain(tmp_path_factory.mktemp("few"), settings=FEW, judged=1, progress=lambda done, total: None)


@pytest.fixture
def own(tmp_path) -> Run:
    """The example run with its stacks, in a folder of its own."""
    run = Run(tmp_path / "run")
    shutil.copytree(example_run().bones, run.bones)
    for path in (example_run().participants, example_run().dictionary, example_run().splits):
        shutil.copy(path, run.folder)
    return run


def test_what_is_read_is_a_function_of_the_image_alone():
    """A target that knew how a bone was drawn, or who she is, would teach the answer of the virtual cohorts."""
    (given,) = inspect.signature(structure_of).parameters.values()
    assert given.annotation == "Bone"
    reached = code_reached("from deepqct.networks.structure import structure_of, TARGETS\nstructure_of")
    wings = {file.relative_to(PACKAGE).parts[0] for file in reached}
    assert "bones" in wings
    assert not wings & {"virtual", "cohort", "models", "run_tables.py"}


def test_two_generators_that_give_one_image_give_one_target(piece):
    """The stream hands on densities and compartments; a bone put together from them alone is measured the same."""
    bare = Bone("unknown", piece.density.copy(), piece.voxel_mm, piece.total, piece.cortical, piece.trabecular)
    assert np.array_equal(structure_of(bare).within(EVERYWHERE), structure_of(piece).within(EVERYWHERE), equal_nan=True)
    other = replace(bare, density=bare.density[:, ::-1, ::-1][..., ::-1] * 0.8)
    assert not np.allclose(structure_of(other).within(EVERYWHERE)[:2], structure_of(piece).within(EVERYWHERE)[:2])


def test_structure_of_a_whole_piece_is_what_the_indices_say(piece):
    """Another rule than that of the indices would teach another bone."""
    found = dict(zip(TARGETS, structure_of(piece).within(EVERYWHERE), strict=True))
    indices = measure(piece)
    for name in ("Tb.BV/TV", "Tb.Th", "Tb.Sp", "Ct.Th", "Ct.Po"):
        assert found[name] == pytest.approx(indices[name], rel=1e-5), name


@pytest.mark.parametrize(("axis", "cos"), [(1, 1.0), (2, -1.0)])
def test_plates_have_their_thickness_spacing_and_direction(axis, cos):
    """Plates of 0.4 mm, 0.8 mm apart, along x or along y."""
    plates = np.full((12, 60, 60), -30.0, np.float32)
    level = np.moveaxis(plates, axis, 0)
    for first in range(2, 60, 12):
        level[first : first + 4] = 900
    inside = np.ones(plates.shape, bool)
    bone = Bone("radius", plates, (0.1,) * 3, inside, ~inside, inside)
    found = dict(zip(TARGETS, structure_of(bone).within((slice(None), slice(14, 50), slice(14, 50))), strict=True))
    assert found["Tb.BV/TV"] == pytest.approx(1 / 3, abs=0.1)
    assert found["Tb.Th"] == pytest.approx(0.4, abs=0.1)
    assert found["Tb.Sp"] == pytest.approx(0.8, abs=0.1)
    assert found["Tb.Or.cos"] == pytest.approx(cos, abs=0.05)
    assert found["Tb.Or.sin"] == pytest.approx(0.0, abs=0.05)
    assert np.isnan(found["Ct.Th"])


@pytest.mark.parametrize(("quarters", "mirrored"), [(1, False), (2, True), (3, True), (0, True)])
def test_a_turned_image_has_the_targets_of_the_turned_bone(piece, quarters, mirrored):
    """Orientation is a direction: an image that is turned without it would teach noise."""

    def turn(field):
        field = np.rot90(field, quarters, axes=(1, 2))
        return np.ascontiguousarray(field[:, :, ::-1] if mirrored else field)

    masks = {name: turn(getattr(piece, name)) for name in ("total", "cortical", "trabecular")}
    measured = structure_of(replace(piece, density=turn(piece.density), **masks)).within(EVERYWHERE)
    image, targets = turned(piece.density, structure_of(piece).within(EVERYWHERE), quarters=quarters, mirrored=mirrored)
    assert np.array_equal(image, turn(piece.density))
    assert np.allclose(targets, measured, rtol=0.02, atol=1e-3)


def test_a_sample_depends_on_its_seed_and_number_alone():
    """Workers draw in any order, and what is interrupted goes on in the middle."""
    stream, again = Stream(FEW), Stream(FEW)
    _, first = stream[0], stream[3]
    second = again[3]
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].nan_to_num(9), second[1].nan_to_num(9))
    assert first[0].shape == (CROPS, 3, 32, 32)
    others = (Stream(replace(FEW, seed=8))[3], Stream(FEW, part="held out")[3], stream[2])
    assert not any(torch.equal(first[0], other[0]) for other in others)


def test_lengths_are_in_pixels_of_the_image(piece):
    """An image does not show its millimetres: only what is in pixels can be read from it."""
    values = structure_of(piece).within(EVERYWHERE)
    found = dict(zip(TARGETS, targets_of(values, pixel_mm=0.2), strict=True))
    assert found["Tb.Th"] == pytest.approx(np.log(values[1] / 0.2))
    assert found["Tb.BV/TV"] == values[0]


def test_images_of_a_stack_are_those_that_training_sees(own):
    """Another path of the images would make pretrained weights read another world."""
    person = "sub-0001"
    seen = from_stack(own, person, "radius", pixels=32)
    (wanted,) = bone_images(own, person, "radius", view=Recipe(images=1).view)
    settings, found = replace(FEW, pixels=32), []
    for seed in range(40):
        image, _ = cut_image(seen, rng=np.random.default_rng(seed), settings=settings)
        found += [np.array_equal(image, wanted)]
    assert 1 <= sum(found) < 40  # those whose slabs fill the stack, and that were not turned
    flat = np.full((4, 3, 64, 64), 500, np.float32)
    given = as_seen(flat, settings=settings, rng=np.random.default_rng(0))
    plain = normalised(torch.from_numpy((flat - Recipe.low) / (Recipe.high - Recipe.low)))
    assert float(given.mean()) == pytest.approx(float(plain.mean()), abs=0.02)
    assert 0.01 < float(given.std()) < 0.1


def test_pixels_are_as_large_as_they_say(piece):
    """A length in pixels is wrong by as much as the pixel is."""
    seen = from_piece(piece, rng=np.random.default_rng(5), pixels=40)
    assert seen.pixel_mm > 1.05 * piece.voxel_mm[1]
    area, drawn = seen.inside[0].sum() * seen.pixel_mm**2, piece.total[0].sum() * piece.voxel_mm[1] ** 2
    assert area == pytest.approx(drawn, rel=0.08)


def test_what_is_interrupted_ends_with_the_same_weights(weights, tmp_path):
    """A night on a cluster must not be lost, nor be another night after it went on."""

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path, settings=FEW, every=2, progress=stop)
    assert not (tmp_path / "weights.safetensors").exists()
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == 2
    with pytest.raises(ValueError, match="begun with other settings"):
        pretrain(tmp_path, settings=replace(FEW, lr=1e-4))
    went_on = pretrain(tmp_path, settings=FEW, judged=1, progress=lambda done, total: None)
    assert went_on.read_bytes() == weights.read_bytes()
    assert read_json(tmp_path / "pretraining.json") == read_json(weights.parent / "pretraining.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.md", "pretraining.json", "weights.safetensors"]


def test_what_is_done_is_kept(weights, capsys):
    """A second call must not take another night."""
    before = weights.stat().st_mtime_ns
    assert pretrain(weights.parent, settings=FEW) == weights
    assert "kept" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == before


def test_weights_begin_a_network_and_name_nobody(weights):
    """The file is taken by the weights of a recipe as it is; the head begins anew."""
    assert scans_seen(weights) == set()
    reader = load_reader(weights, arch="resnet18")
    model = network(arch="resnet18", channels=3, weights=str(weights))
    body, read = model.get_submodule("0").state_dict(), reader.model.get_submodule("0").state_dict()
    assert all(torch.equal(body[name], read[name]) for name in read)
    fresh = network(arch="resnet18", channels=3).get_submodule("0").state_dict()
    assert not torch.equal(fresh["0.weight"], body["0.weight"])
    assert network(arch="resnet18", channels=5, weights=str(weights))(torch.zeros(2, 5, 32, 32)).shape == (2, 1)
    images, targets = Stream(FEW, part="held out")[0]
    assert reader.read(images).shape == targets.shape
    card = (weights.parent / "card.md").read_text(encoding="utf-8")
    assert "Virtual bones only" in card
    assert "Apache-2.0" in card
    with pytest.raises(ValueError, match="does not hold the weights of resnet34"):
        network(arch="resnet34", channels=3, weights=str(weights))


def test_a_backbone_of_timm_is_pretrained_too(tmp_path):
    """Any backbone that a recipe names can begin with bone."""
    settings = replace(FEW, arch="resnet10t", samples=16)
    made = pretrain(tmp_path, settings=settings, judged=1, progress=lambda done, total: None)
    body = network(arch="resnet10t", channels=3, weights=str(made)).get_submodule("0").state_dict()
    read = load_reader(made, arch="resnet10t").model.get_submodule("0").state_dict()
    assert all(torch.equal(body[name], read[name]) for name in read)


def test_no_woman_is_scored_by_what_has_learned_from_her(own, tmp_path):
    """Scans without outcomes still show a network who these women are; every tenth patient is held out and not named."""
    settings = replace(FEW, samples=16)
    made = pretrain(tmp_path / "own", settings=settings, run=own, judged=1, progress=lambda done, total: None)
    seen, everybody = scans_seen(made), scans_of(own, read_table(own.participants)["participant_id"])
    assert seen < everybody
    assert len(everybody - seen) == 2  # wrist and ankle of the one patient of twelve who is held out
    recipe = replace(RECIPE, weights=str(made))
    with pytest.raises(ValueError, match="which learned from"):
        train_fold(own, bone="radius", fold=0, recipe=recipe)
    with pytest.raises(ValueError, match="which learned from"):
        frozen_features(own, bone="radius", weights=str(made), recipe=RECIPE)
    further = pretrain(tmp_path / "on", settings=replace(settings, weights=str(made)), judged=1)
    assert scans_seen(further) == seen
    card = (made.parent / "card.md").read_text(encoding="utf-8")
    assert "scans of patients" in card


def test_outcomes_change_nothing(own, tmp_path):
    """Pretraining on scans reads no outcome: with all outcomes turned round the file is the same to the byte."""
    settings = replace(FEW, samples=16)
    first = pretrain(tmp_path / "a", settings=settings, run=own, judged=1, progress=lambda done, total: None)
    people = read_table(own.participants)
    write_table(own.participants, people.assign(fracture=1 - people["fracture"]))
    second = pretrain(tmp_path / "b", settings=settings, run=own, judged=1, progress=lambda done, total: None)
    assert first.read_bytes() == second.read_bytes()


def test_frozen_features_are_of_each_woman_alone(own, weights):
    """A woman's row may depend on nobody else, or her fold would leak through it."""
    recipe = replace(RECIPE, images=2)
    everybody = frozen_features(own, bone="radius", weights=str(weights), recipe=recipe)
    assert everybody.shape == (12, 1024)
    assert everybody.nunique(axis=0).gt(1).mean() > 0.5  # some maps of few steps are 0 everywhere
    splits = read_table(own.splits)
    some = splits["participant_id"].isin(everybody.index[:5])
    write_table(own.splits, splits[some])
    few = frozen_features(own, bone="radius", weights=str(weights), recipe=recipe)
    assert np.allclose(few, everybody.iloc[:5], atol=1e-5)


def test_agreement_leaves_out_what_an_image_does_not_have():
    """A missing cortex is no thin one."""
    measured = np.column_stack([np.arange(6.0)] * len(TARGETS))
    read = measured * 2 + 1
    measured[2, 0] = np.nan
    table = agreement(read, measured).set_index("target")
    assert table.loc["Tb.BV/TV", "n"] == 5
    assert table.loc["Ct.Th", "r"] == pytest.approx(1)
    assert table.loc["Ct.Th", "r2"] < 0  # right in order, wrong in size


def test_the_learning_rate_rises_and_falls():
    """A high rate at the first step breaks the normalising layers, one at the last leaves noise."""
    rates = [one_cycle(step, steps=100, lr=1.0) for step in range(100)]
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert 20 <= int(np.argmax(rates)) <= 30
    assert rates[0] < 0.1
    assert rates[-1] < 0.001


@pytest.mark.long
def test_the_command_makes_weights_and_says_how_far_it_is(tmp_path):
    """Without a terminal there are plain lines, and a wrong setting is one sentence."""
    out = tmp_path / "weights"
    call = ("pretrain", str(out), "--arch", "resnet18", "--samples", "16", "--batch-size", "8", "--pixels", "32")
    done = deepqct(*call, "--workers", "0", "--device", "cpu", "--judged", "1")
    assert done.returncode == 0, done.stderr
    assert "step 2 of 2: loss" in done.stdout
    assert (out / "weights.safetensors").exists()
    wrong = deepqct(*call[:-3], "10", "--pixels", "32")
    assert wrong.returncode == 2
    assert "it must be a multiple of 4" in wrong.stderr


def test_readings_are_doubled_where_there_is_double_precision():
    """MPS has none: a pretraining there would end in an error at its last step, when it is judged."""

    class OnMps(torch.Tensor):
        """A tensor of a device without double precision, until it is on the processor."""

        def double(self) -> torch.Tensor:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

        def cpu(self) -> torch.Tensor:
            return self.as_subclass(torch.Tensor)

    class Seven(torch.nn.Linear):
        """A network whose readings lie on that device."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(images), 7).as_subclass(OnMps)

    reader = Reader(torch.nn.Sequential(Seven(1, 1)), np.zeros(7), np.full(7, 2.0))
    np.testing.assert_array_equal(reader.read(torch.zeros(2, 3, 8, 8)), np.full((2, 7), 2.0))


def test_weights_of_scans_are_kept_only_while_the_images_are_the_same(own, tmp_path, monkeypatch):
    """The same scans, curated at other pixels, are other images; and a record without its weights is nothing to keep."""

    class BegunError(Exception):
        """Raised in place of a pretraining."""

    def begin(*_: object, **__: object) -> None:
        raise BegunError

    settings, how = replace(FEW, samples=16), {"run": own, "judged": 1, "progress": lambda done, total: None}
    made = pretrain(tmp_path / "own", settings=settings, **how)
    monkeypatch.setattr(pretraining, "_untrained", begin)
    assert pretrain(made.parent, settings=settings, **how) == made
    gone = made.rename(made.with_suffix(".away"))
    with pytest.raises(BegunError):
        pretrain(made.parent, settings=settings, **how)
    gone.rename(made)
    for record in own.bones.glob("*.json"):
        content = read_json(record)
        write_json(record, content | {"made_from": content["made_from"] | {"image_px": 64}})
    with pytest.raises(BegunError):
        pretrain(made.parent, settings=settings, **how)


def test_every_slice_of_coarse_pixels_has_targets(piece):
    """Eight slices of 0.061 mm lie in one cube of 0.5 mm: the last must not be sought beyond it."""
    one = replace(piece, **{name: getattr(piece, name)[4:5] for name in ("density", "total", "cortical", "trabecular")})
    density, inside = (np.repeat(field, 8, axis=0) for field in (one.density, one.total))
    seen = Seen(density, inside, 0.5, structure_of(one), (1 / 8, 1.0, 1.0))
    settings = Pretraining(pixels=len(density[0]))
    for seed in range(20):
        _, targets = cut_image(seen, rng=np.random.default_rng(seed), settings=settings)
        assert np.isfinite(targets[TARGETS.index("Tb.BV/TV")])
