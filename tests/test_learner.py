"""The networks: patients stay on their side, folds are repeatable, and nothing is trained twice."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torchvision import models

from deepqct.folder import Run, read_json, read_table, write_json, write_table
from deepqct.models import predict
from deepqct.networks import Recipe, backbones, cross_validation, data, folds, training
from deepqct.networks.backbones import network, try_network
from deepqct.networks.images import BoneImage, augmentation, normalised, softened
from deepqct.run.parameters import declared_parameters
from deepqct.terms import BONES

RECIPE = Recipe(epochs=1, images=2, batch_size=4, arch="resnet18")


@pytest.fixture
def run(tmp_path) -> Run:
    """Ten women with small random stacks of the radius; two are the test set of as-published."""
    run, rng = Run(tmp_path), np.random.default_rng(0)
    people = [f"sub-{i:04d}" for i in range(10)]
    outcome = np.arange(10) % 2
    run.bones.mkdir()
    for person, event in zip(people, outcome, strict=True):
        np.save(run.stack(person, "radius"), rng.integers(-100, 900 + 300 * event, (6, 32, 32)).astype(np.int16))
        np.save(run.stack_mask(person, "radius"), np.ones((6, 32, 32), np.uint8))
        write_json(run.stack_record(person, "radius"), {"made_from": person, "voxel_mm": [0.12, 0.3, 0.3]})
    write_table(run.participants, pd.DataFrame({"participant_id": people, "fracture": outcome}))
    write_json(run.dictionary, {"fracture": {"Role": "outcome"}})
    fold = np.array(["0", "0", "1", "1"] * 2 + ["test"] * 2)
    table = pd.DataFrame({"protocol": "as-published", "repeat": 0, "participant_id": people, "fold": fold})
    every = table.assign(protocol="all", fold=np.array(["0", "0", "1", "1", "0"] * 2))
    write_table(run.splits, pd.concat([table, every]))
    return run


def people_of(items: pd.DataFrame) -> set[str]:
    """The patients of some images."""
    return set(items["participant_id"])


def test_no_patient_is_on_both_sides_of_a_fold(run):
    """Slices of one woman in training and validation inflate every figure (Yagis 2021)."""
    dls = data.bone_dataloaders(run, bone="radius", fold=0, protocol="as-published", recipe=RECIPE)
    train, valid = people_of(dls.train.items), people_of(dls.valid.items)
    assert train.isdisjoint(valid)
    assert len(dls.valid.items) == 2 * len(valid)
    assert {"sub-0008", "sub-0009"}.isdisjoint(train | valid), "test patients must not be trained on or watched"
    x, y = dls.one_batch()
    assert x.shape == (4, 3, 32, 32)
    assert set(y.tolist()) <= {0, 1}


def test_a_high_score_means_the_outcome(run):
    """Categories that are sorted by name would turn every score round: "fracture" comes before "no fracture"."""
    dls = data.bone_dataloaders(run, bone="radius", fold=0, recipe=RECIPE)
    labels = [int(dls.valid_ds[i][1]) for i in range(len(dls.valid_ds))]
    assert labels == dls.valid.items["outcome"].tolist()
    net = training.bone_learner(dls)
    loss = [net.loss_func(torch.full((4, 1), logit), torch.ones(4, dtype=torch.long)).item() for logit in (-3.0, 3.0)]
    assert loss[1] < loss[0]


def test_scores_do_not_rest_on_statistics_of_weights_that_are_gone(run):
    """After a few steps torch's own running statistics are in part those of the beginning: a whole fold is shifted."""
    dls = data.bone_dataloaders(run, bone="radius", fold=1, recipe=replace(RECIPE, augment=False))
    net = training.bone_learner(dls, arch="resnet18")
    first, norm = net.model.get_submodule("0.0"), net.model.get_submodule("0.1")
    with net.no_bar(), net.no_logging():
        net.fit(6, 0.0)  # 18 steps without learning: what an epoch holds is known
    with torch.no_grad():
        seen = torch.cat([first(torch.Tensor(x)) for x, _ in dls.train])
    assert len(dls.train) == 3
    assert torch.allclose(norm.running_var, seen.var((0, 2, 3)), rtol=0.1)


def test_a_long_epoch_keeps_torchs_own_averaging(run):
    """From ten steps an epoch nothing changes."""
    model = network(arch="resnet18", channels=3)
    training._follow_last_epoch(model, steps=11)
    assert {m.momentum for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}


def test_density_means_the_same_in_every_image(run):
    """Scaling each image by itself would erase what osteoporosis is."""
    item = pd.Series({"participant_id": "sub-0001", "image": 0})
    np.save(run.stack("sub-0001", "radius"), np.full((6, 32, 32), 500, np.int16))
    image = BoneImage.of(item, run=run, bone="radius", recipe=RECIPE)
    assert torch.allclose(torch.Tensor(image), torch.full((3, 32, 32), (500 + 400) / 1800))
    mask = np.zeros((6, 32, 32), np.uint8)
    np.save(run.stack_mask("sub-0001", "radius"), mask)
    assert torch.allclose(
        torch.Tensor(BoneImage.of(item, run=run, bone="radius", recipe=RECIPE)),
        torch.full((3, 32, 32), 400 / 1800),
    )


def test_cross_validation_scores_everybody_once_and_trains_nothing_twice(run, monkeypatch, capsys):
    """Every patient has one out-of-fold score; a second call keeps the folds and their numbers."""
    scores = cross_validation.cross_validate(run, bone="radius", recipe=RECIPE)
    for (protocol, split), part in scores.groupby(["protocol", "split"]):
        assert part["participant_id"].is_unique
        assert len(part) == {("all", "out-of-fold"): 10, ("as-published", "out-of-fold"): 8}.get((protocol, split), 2)
    assert scores["risk"].between(0, 1).all()
    weights = load_file(run.models("radius") / "all" / "repeat0" / "fold1.safetensors")
    assert all(torch.isfinite(tensor.float()).all() for tensor in weights.values())
    assert len(folds.training_history(run, bone="radius")) == 4
    monkeypatch.setattr(training, "bone_learner", lambda *a, **k: pytest.fail("a fold was trained again"))
    pd.testing.assert_frame_equal(cross_validation.cross_validate(run, bone="radius", recipe=RECIPE), scores)
    assert capsys.readouterr().out.count("trained before, kept") == 4


def test_a_fold_does_not_depend_on_which_were_trained_before_it(run):
    """Whoever resumes after a break must end with the numbers of an unbroken run."""
    alone = training.train_fold(run, bone="radius", fold=1, recipe=RECIPE)
    for file in (run.models("radius") / "all" / "repeat0").iterdir():
        file.unlink()
    training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    after = training.train_fold(run, bone="radius", fold=1, recipe=RECIPE)
    pd.testing.assert_frame_equal(alone, after)


def test_scores_of_a_fold_do_not_depend_on_its_own_outcomes(run):
    """However a held-out outcome found its way into a score, turning all of them round would change it."""
    before = training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    people, splits = read_table(run.participants), read_table(run.splits).query("protocol == 'all'")
    held_out = people["participant_id"].isin(splits.loc[splits["fold"] == "0", "participant_id"])
    write_table(run.participants, people.assign(fracture=people["fracture"].where(~held_out, 1 - people["fracture"])))
    record = run.models("radius") / "all" / "repeat0" / "fold0.json"
    data = read_json(record)["data"]
    after = training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    assert read_json(record)["data"] != data, "it was trained anew"
    pd.testing.assert_frame_equal(before, after)


def test_another_recipe_or_other_images_train_again(run):
    """Scores kept from other images would be wrong in silence."""
    record = run.models("radius") / "all" / "repeat0" / "fold0.json"
    training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    before = read_json(record)
    write_json(run.stack_record("sub-0003", "radius"), {"made_from": "scanned again", "voxel_mm": [0.12, 0.3, 0.3]})
    training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    assert read_json(record)["data"] != before["data"]
    first = read_table(record.with_name("fold0_scores.csv"))
    other = training.train_fold(run, bone="radius", fold=0, recipe=replace(RECIPE, lr=0.1))
    assert read_json(record)["recipe"]["lr"] == 0.1
    assert not np.allclose(other["score"], first["score"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"weights": "imagnet"}, "weights is 'imagnet'; use one of imagenet, none"),
        ({"arch": "resnet35"}, "arch is 'resnet35', which neither torchvision nor timm has"),
        ({"epochs": 0}, "must be 1 or more"),
        ({"batch_size": 1}, "batch_size is 1, and layers that norm maps need 2 images or more"),
        ({"background": "blur"}, "background is 'blur'"),
        ({"learns": "head"}, "learns is 'head' and weights none, so that most layers would stay random"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(wrong, sentence):
    """Better before the first epoch than after the last."""
    with pytest.raises(ValueError, match=r"is|must") as error:
        Recipe(**wrong)
    assert sentence in str(error.value)


def test_missing_weights_and_devices_are_errors_not_silent_changes(run, monkeypatch):
    """Random weights in place of ImageNet's would make another study."""
    from urllib.error import URLError

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(backbones, "create_vision_model", unreachable)
    dls = data.bone_dataloaders(run, bone="radius", fold=0, recipe=RECIPE)
    with pytest.raises(RuntimeError, match="ImageNet weights of resnet34 are not on this machine"):
        training.bone_learner(dls, weights="imagenet")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device is 'cuda'; this machine has"):
            training.use_device("cuda")
    assert training.use_device("cpu") == "cpu"


def test_every_setting_of_a_recipe_is_a_parameter_of_the_notebook():
    """A setting that hides in a language of its own is neither typed, nor checked, nor shown in the output."""
    declared = declared_parameters("02_train_bone")
    fields = {field.name: field.default for field in dataclasses.fields(Recipe)}
    fields.pop("control")  # no way to train a bone
    assert set(fields) <= set(declared)
    chosen = {"epochs", "images", "batch_size", "field"}  # of the preset quick
    assert {name: declared[name].default for name in fields.keys() - chosen} == {
        n: fields[n] for n in fields.keys() - chosen
    }
    recipe = Recipe.of({"epochs": 3, "crop": 0.8, "tta": 4, "projection": "max", "augment": False, "bone": "radius"})
    assert (recipe.epochs, recipe.crop, recipe.tta, recipe.projection, recipe.augment) == (3, 0.8, 4, "max", False)
    assert Recipe.of({"control": "noise"}).control == "none"
    with pytest.raises(ValueError, match="projection is 'median'; use one of mean, max"):
        Recipe.of({"projection": "median"})


def test_imagenet_weights_are_asked_for_and_the_head_learns_first(run, tmp_path_factory, monkeypatch):
    """A body that is never frozen, or never begins with what was asked for, is another study."""
    asked, frozen = [], []
    built, fitted = backbones.create_vision_model, training.Learner.fit_one_cycle

    def building(*args: Any, **kwargs: Any) -> torch.nn.Module:
        asked.append(kwargs["pretrained"])
        return built(*args, **kwargs | {"pretrained": False})

    def fitting(self: training.Learner, epochs: int, *args: Any, **kwargs: Any) -> None:
        frozen.append((epochs, not self.model.get_submodule("0.0").weight.requires_grad))
        fitted(self, epochs, *args, **kwargs)

    monkeypatch.setattr(backbones, "create_vision_model", building)
    monkeypatch.setattr(training.Learner, "fit_one_cycle", fitting)
    dls = data.bone_dataloaders(run, bone="radius", fold=0, recipe=RECIPE)
    training.bone_learner(dls, arch="resnet18", weights="none")  # the first tries whether it reads such images
    asked.clear()
    for weights in ("imagenet", "none"):
        training.bone_learner(dls, arch="resnet18", weights=weights)
    assert asked == [True, False]
    file = tmp_path_factory.mktemp("others") / "net.safetensors"
    save_file(models.resnet18().state_dict(), file)
    recipe = replace(RECIPE, epochs=2, weights=str(file))
    training.train_fold(run, bone="radius", fold=0, recipe=recipe)
    assert frozen == [(1, True), (2, False)]
    frozen.clear()
    training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    assert frozen == [(1, False)]


@pytest.mark.parametrize("learns", ["head", "late", "all"])
def test_layers_that_are_not_to_learn_keep_their_weights(run, tmp_path_factory, learns):
    """Norm layers go on, as in fastai; every other weight outside of what learns is the file's."""
    torch.manual_seed(0)
    backbone, file = models.resnet18(), tmp_path_factory.mktemp("others") / "net.safetensors"
    save_file(backbone.state_dict(), file)
    training.train_fold(run, bone="radius", fold=0, recipe=replace(RECIPE, weights=str(file), learns=learns))
    trained = load_file(run.models("radius") / "all" / "repeat0" / "fold0.safetensors")
    begun = network(arch="resnet18", channels=3, weights=str(file))
    moved = {
        name.split(".")[1]
        for name, tensor in begun.named_parameters()
        if name.startswith("0.") and tensor.ndim == 4 and not torch.equal(tensor, trained[name])
    }
    late, every = {"6", "7"}, {"0", "4", "5", "6", "7"}  # the third and fourth block; the first layer and all four
    assert moved == {"head": set(), "late": late, "all": every}[learns]
    assert not torch.equal(dict(begun.named_parameters())["1.8.weight"], trained["1.8.weight"])


def test_images_are_scored_as_soft_as_those_of_training(run):
    """Noise keeps half of its power in training; images with all of it are of a kind that no network has seen."""
    fastai_like = BoneImage(torch.randn(64, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.5)
    moved = fastai_like.clone()
    torch.manual_seed(0)
    for step in augmentation(RECIPE)[:-2]:  # noise and softening left out
        moved = step(moved, split_idx=0) if hasattr(step, "split_idx") else step(moved)
    middle = np.s_[..., 8:-8, 8:-8]
    in_training, in_scoring = (float(images[middle].var()) for images in (moved, softened(fastai_like)))
    assert 0.4 < in_training / float(fastai_like[middle].var()) < 0.6
    assert in_scoring == pytest.approx(in_training, rel=0.2)


@pytest.mark.parametrize("augment", [True, False])
def test_all_that_is_scored_or_explained_takes_one_path(run, augment):
    """Heat that explains other images than those that were scored explains nothing."""
    recipe = replace(RECIPE, augment=augment)
    dls = data.bone_dataloaders(run, bone="radius", fold=0, recipe=recipe)
    loader = dls.test_dl(dls.valid.items)
    scored = torch.cat([torch.Tensor(batch[0]) for batch in loader])
    explained = normalised(folds.batch_of(run, dls.valid.items, bone="radius", recipe=recipe))
    torch.testing.assert_close(scored.cpu(), explained)
    raw = torch.stack([BoneImage.of(i, run=run, bone="radius", recipe=recipe) for i in dls.valid.items.itertuples()])
    assert torch.allclose(explained, normalised(raw)) is not augment


def test_views_are_averaged_as_logits_and_differ(run):
    """Test-time augmentation that shows the same picture again costs time and does nothing."""
    for augment in (True, False):
        recipe = replace(RECIPE, augment=augment)
        dls = data.bone_dataloaders(run, bone="radius", fold=0, recipe=recipe)
        net = training.bone_learner(dls, arch="resnet18")
        plain, with_views = (training._patient_logits(net, dls.valid.items, tta=tta)["score"] for tta in (0, 2))
        assert np.allclose(plain, with_views, atol=1e-5) is not augment


def test_a_backbone_that_cannot_read_the_images_is_named_before_anything_starts():
    """After four bones were curated and three trained is too late."""
    try_network(arch="test_resnet", channels=2, pixels=32)  # timm's
    with pytest.raises(
        ValueError, match="arch is 'test_vit3', which cannot read images of 32 by 32 pixels and 3 channels"
    ):
        try_network(arch="test_vit3", channels=3, pixels=32)


@pytest.mark.parametrize("arch", ["densenet121", "test_convnext"])
def test_backbones_own_weights_are_taken_whole(arch, tmp_path):
    """Their parts have other names, or are cut elsewhere, than a ResNet's."""
    whole = timm.create_model(arch) if arch.startswith("test") else models.get_model(arch)
    save_file(whole.state_dict(), tmp_path / "net.safetensors")
    body = network(arch=arch, channels=3, weights=str(tmp_path / "net.safetensors")).get_submodule("0")
    first = next(iter(whole.parameters()))
    assert torch.equal(next(iter(body.parameters())), first)
    kept = sum(p.numel() for p in body.parameters())
    assert 0.5 * sum(p.numel() for p in whole.parameters()) < kept


def test_workers_are_refused_where_processes_begin_anew(run, monkeypatch):
    """A pickling error of fastai's says nothing to anybody."""
    monkeypatch.setattr("multiprocessing.get_start_method", lambda allow_none: "spawn")
    with pytest.raises(ValueError, match="workers is 2, and processes are made by spawn"):
        data.bone_dataloaders(run, bone="radius", fold=0, recipe=RECIPE, workers=2)


def test_weights_come_whole_from_other_patients_only(run, tmp_path_factory):
    """A network of another fold has seen the women whom this fold scores."""
    training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    own = run.models("radius") / "all" / "repeat0" / "fold0.safetensors"
    with pytest.raises(ValueError, match="a network of this very run"):
        training.train_fold(run, bone="radius", fold=1, recipe=replace(RECIPE, weights=str(own)))
    elsewhere = tmp_path_factory.mktemp("others") / "net.safetensors"
    elsewhere.write_bytes(own.read_bytes())
    model = network(arch="resnet18", channels=3, weights=str(elsewhere))
    for name, tensor in load_file(elsewhere).items():
        assert torch.equal(model.state_dict()[name], tensor)
    with pytest.raises(ValueError, match="does not hold the weights of resnet34"):
        network(arch="resnet34", channels=3, weights=str(elsewhere))
    backbone = models.resnet18()
    save_file(backbone.state_dict(), elsewhere)
    body = network(arch="resnet18", channels=3, weights=str(elsewhere))
    assert torch.equal(body.get_submodule("0.0").weight, backbone.conv1.weight)


def test_weights_that_learned_from_scored_women_are_refused_wherever_they_lie(run, tmp_path_factory):
    """A network of another run on the same women, copied elsewhere and under other ids, would score whom it knows."""
    for person in read_table(run.participants)["participant_id"]:
        write_json(
            run.stack_record(person, "radius"),
            {"made_from": {"sha256": f"{person:0<64}"}, "voxel_mm": [0.12, 0.3, 0.3]},
        )
    training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    copied = tmp_path_factory.mktemp("copied") / "net.safetensors"
    copied.write_bytes((run.models("radius") / "all" / "repeat0" / "fold0.safetensors").read_bytes())
    other = Run(tmp_path_factory.mktemp("other"))
    shutil.copytree(run.folder, other.folder, dirs_exist_ok=True)
    shutil.rmtree(other.folder / "models", ignore_errors=True)
    for path in sorted(other.bones.iterdir()):
        path.rename(path.with_name(path.name.replace("sub-", "P")))
    for path in (other.participants, other.splits):
        path.write_text(path.read_text(encoding="utf-8").replace("sub-", "P"), encoding="utf-8")
    recipe = replace(RECIPE, weights=str(copied))
    with pytest.raises(ValueError, match="learned from 4 scans of women whom fold 1 scores"):
        training.train_fold(other, bone="radius", fold=1, recipe=recipe)
    assert len(training.train_fold(other, bone="radius", fold=0, recipe=recipe)) == 6
    further = other.models("radius") / "all" / "repeat0" / "fold0.safetensors"
    assert folds.scans_seen(copied) == folds.scans_seen(further)


def test_bones_without_stacks_are_named(run):
    """A typing error in a bone must not look like an empty cohort."""
    with pytest.raises(ValueError, match=r"Nobody has a stack of the ulna.*leave it out by bone="):
        data.bone_dataloaders(run, bone=BONES[1], fold=0, recipe=RECIPE)
    with pytest.raises(ValueError, match="Fold 7 of protocol 'all'"):
        data.bone_dataloaders(run, bone="radius", fold=7, recipe=RECIPE)


def test_a_fold_without_this_bone_is_left_out(run):
    """A bone that is rarely measured must not lose the run for the others."""
    three_folds(run)
    for person in ("sub-0004", "sub-0005"):  # all of fold 2 of the first repeat
        run.stack_record(person, "radius").unlink()
    scores = cross_validation.cross_validate(run, bone="radius", recipe=RECIPE)
    assert set(scores["fold"]) == {"0", "1"}
    assert len(scores) == 8
    assert data.first_fold(run, bone="radius")["fold"] == "0"


def test_losses_of_folds_that_are_no_longer_drawn_are_not_shown(run):
    """Six curves under three folds would be those of other women."""
    three_folds(run)
    cross_validation.cross_validate(run, bone="radius", recipe=RECIPE)
    splits = read_table(run.splits)
    write_table(run.splits, splits.assign(fold=splits["fold"].replace("2", "1")).query("repeat == 0"))
    cross_validation.cross_validate(run, bone="radius", recipe=RECIPE)
    assert set(folds.training_history(run, bone="radius")["fold"]) == {"0", "1"}


def three_folds(run: Run) -> pd.DataFrame:
    """Splits of three folds, twice, over the ten women."""
    people = [f"sub-{i:04d}" for i in range(10)]
    parts = [
        pd.DataFrame(
            {
                "protocol": "all",
                "repeat": r,
                "participant_id": people,
                "fold": [str((i // 2 + r) % 3) for i in range(10)],
            }
        )
        for r in (0, 1)
    ]
    splits = pd.concat(parts, ignore_index=True)
    write_table(run.splits, splits)
    return splits


def test_strict_stacking_scores_by_networks_that_saw_neither_fold(run, monkeypatch):
    """Three pairs of folds, three more networks; each woman is scored once for every other fold that is held out."""
    fold_of = three_folds(run).query("repeat == 0").set_index("participant_id")["fold"]
    trained = []
    whole = data.bone_dataloaders

    def watched(run, **where):
        dls = whole(run, **where)
        trained.append((where["fold"], where["without"], people_of(dls.train.items)))
        return dls

    monkeypatch.setattr(training, "bone_dataloaders", watched)
    cross_validation.cross_validate(run, bone="radius", recipe=RECIPE, stacking="strict")
    pairs = {(fold, without): people for fold, without, people in trained if without is not None}
    assert set(pairs) == {("0", "1"), ("0", "2"), ("1", "2")}
    for (one, other), people in pairs.items():
        assert people == set(fold_of.index[~fold_of.isin([one, other])])
    inner = read_table(run.inner_scores("radius"))
    assert len(inner) == 10 * 2
    assert not inner.duplicated(["participant_id", "held_out"]).any()
    assert (inner["fold"] == inner["participant_id"].map(fold_of)).all()
    assert (inner["held_out"] != inner["fold"]).all()
    write_table(run.indices, pd.DataFrame({"participant_id": fold_of.index, "bone": "radius", "Tt.vBMD": range(10)}))
    write_table(run.texture, pd.DataFrame({"participant_id": fold_of.index, "bone": "radius", "Tb.Vario": range(10)}))
    fused = predict.predict_run(run, stacking="strict").query("family == 'DeepQCT' and model == 'radius + all indices'")
    assert len(fused) == 10, "what was written is what a run stacks strictly"
    trained.clear()
    cross_validation.cross_validate(run, bone="radius", recipe=RECIPE, stacking="strict")
    assert trained == [], "a second call trains nothing"
    cross_validation.cross_validate(run, bone="radius", recipe=RECIPE)
    assert not run.inner_scores("radius").exists(), "inner scores of an earlier call would be of other networks"


def test_strict_stacking_with_two_folds_is_refused_before_any_training(run):
    """Without both folds nobody is left to train on, and hours of outer networks would come first."""
    with pytest.raises(ValueError, match=r"needs at least 3 folds, and splits\.csv has 2"):
        cross_validation.cross_validate(run, bone="radius", recipe=RECIPE, stacking="strict")
    assert not run.scores("radius").exists()


def test_networks_are_trained_on_the_first_repeats_only(run):
    """Tables use every repeat of the folds; networks cost hours."""
    three_folds(run)
    assert set(cross_validation.cross_validate(run, bone="radius", recipe=RECIPE)["repeat"]) == {0}
    assert set(cross_validation.cross_validate(run, bone="radius", recipe=RECIPE, repeats=2)["repeat"]) == {0, 1}
