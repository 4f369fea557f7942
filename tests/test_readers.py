"""What networks see of a bone, how many train for a fold, and how their maps become logits."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from safetensors.torch import load_file
from test_controls import SIZE, labels, make_run
from torch.utils._python_dispatch import TorchDispatchMode

from deepqct.bones.quality import PUBLISHED
from deepqct.curation.stacks import FIELD_MM, of_bone
from deepqct.folder import Run, read_json, read_table, write_json, write_table
from deepqct.networks import Recipe, cross_validate, folds, learned, saliency, stock, training
from deepqct.networks.backbones import network
from deepqct.networks.data import bone_dataloaders, show_images
from deepqct.networks.ensemble import Ensemble, members_of
from deepqct.networks.images import BoneImage, bone_images, normalised, seen_mask
from deepqct.networks.losses import OutcomeAndIndices
from deepqct.networks.readers import (
    AttentionBag,
    Design,
    Patched,
    SpreadBag,
    SpreadPool,
    bone_places,
    cut_patches,
    even_places,
    random_places,
)
from deepqct.networks.recipe import BONE_MM, FIRST, TOLD
from deepqct.report.findings import learned as said
from deepqct.terms import BONES
from deepqct.virtual import draw_women
from deepqct.virtual.outlines import WIDER_A_MM, draw_outline

RECIPE = Recipe(arch="resnet18", epochs=1, images=1, batch_size=4)
PLACE = {"protocol": "all", "repeat": 0}


@pytest.fixture
def run(tmp_path) -> Run:
    """Twelve women whose outcome lies in the lower cortex, in two folds, and five of their indices."""
    run, rng = make_run(tmp_path, n=12, cue=300.0), np.random.default_rng(2)
    people = read_table(run.participants)["participant_id"]
    table = pd.DataFrame({"participant_id": people, "bone": "radius", "Tt.vBMD": rng.normal(300, 50, 12)})
    table["Ct.Th"] = np.where(np.arange(12) == 2, np.nan, rng.normal(1, 0.2, 12))
    table["stacks"] = 1.0  # the same in all
    write_table(run.indices, table)
    return run


# The field of a bone


def test_the_field_of_a_bone_holds_every_woman_and_the_largest_published():
    """Ten thousand women, each with the widest outline of 300; growth along the stack and a pixel are counted in."""
    women = draw_women(10_000, seed=2026)
    widest, mean = {}, {}
    for bone in BONES:
        rng = np.random.default_rng(1)
        wide = [np.ptp(draw_outline(bone, area_mm2=1.0, rng=rng).points, axis=0).max() for _ in range(300)]
        widest[bone], mean[bone] = max(wide), float(np.mean(wide))
        reach = widest[bone] * np.sqrt(women[f"{bone} Tt.Ar"].max()) * (1 + WIDER_A_MM * 5.1)
        assert reach + FIELD_MM[bone] / 64 < BONE_MM[bone] < FIELD_MM[bone]
    for bone, ranges in PUBLISHED.items():
        assert mean[bone] * np.sqrt(ranges["Tt.Ar"][1]) < BONE_MM[bone]


def test_a_field_is_as_wide_in_every_woman_and_loses_nothing_of_her_bone(run, monkeypatch):
    """A bone that lies aside of the middle is followed; one that is wider than all is an error, and is not cut."""
    monkeypatch.setitem(BONE_MM, "radius", 17.4)  # of pixels of 0.5 mm: 35
    view = replace(RECIPE, field="bone").view
    aside = np.roll(labels(), (5, -7), axis=(1, 2))
    np.save(run.stack_mask("sub-0001", "radius"), aside)
    for person in ("sub-0000", "sub-0001"):
        whole, seen = (of_bone(seen_mask(run, person, "radius", view=v)) for v in (RECIPE.view, view))
        assert seen.shape == (3, 35, 35) == (3, *(view.pixels("radius", size=SIZE, pixel_mm=0.5),) * 2)
        assert seen.sum() == whole.sum()
        assert bone_images(run, person, "radius", view=view).shape == (1, 3, 35, 35)
    assert bone_images(run, "sub-0001", "radius", view=replace(view, crop=0.8)).shape == (1, 3, 28, 28)
    assert bone_images(run, "sub-0001", "radius", view=replace(view, control="noise")).shape == (1, 3, 35, 35)
    monkeypatch.setitem(BONE_MM, "radius", 15.0)
    with pytest.raises(
        ValueError, match=r"radius of sub-0002 is 16 mm wide, and field=bone keeps 15 mm; set field=whole"
    ):
        bone_dataloaders(run, bone="radius", fold=0, recipe=replace(RECIPE, field="bone"))


# Enough training


def test_the_quick_preset_trains_each_network_for_at_least_300_steps():
    """Thirty steps, as there once were, leave a network that does not know its own training women."""
    preset = yaml.safe_load((ROOT / "deepqct" / "run" / "presets" / "quick.yaml").read_text(encoding="utf-8"))
    women, folds_, train = (
        preset["00_virtual_cohort"]["n"],
        preset["01_data_curation"]["folds"],
        preset["02_train_bone"],
    )
    images = women * (folds_ - 1) // folds_ * train["images"]
    assert images // train["batch_size"] * train["epochs"] >= 300


def test_weight_decay_reaches_the_optimiser_and_is_by_default_what_it_was(run):
    """A parameter that changes nothing would be believed."""
    dls = bone_dataloaders(run, bone="radius", fold=0, recipe=RECIPE)
    for wd in (Recipe().wd, 0.3):
        net = training.bone_learner(dls, arch="resnet18", wd=wd)
        with net.no_bar(), net.no_logging():
            net.fit(1, 0.0)
        assert {group["weight_decay"] for group in net.opt.opt.param_groups} == {wd}
    assert Recipe().wd == torch.optim.AdamW([torch.zeros(1)]).param_groups[0]["weight_decay"]


def test_an_ensemble_is_the_mean_of_its_networks_and_resumes(run, monkeypatch, capsys):
    """Its first network is the one that would be trained alone; the others differ, and none is trained twice."""
    alone = training.train_fold(run, bone="radius", fold=0, recipe=RECIPE)
    recipe = replace(RECIPE, ensemble=3)
    before = training.FoldFiles.write
    monkeypatch.setattr(
        training.FoldFiles,
        "write",
        lambda self, *a, **k: pytest.fail("stopped") if self.folder.name == "member2" else before(self, *a, **k),
    )
    with pytest.raises(pytest.fail.Exception, match="stopped"):
        training.train_fold(run, bone="radius", fold=0, recipe=recipe)
    monkeypatch.undo()
    capsys.readouterr()
    scores = training.train_fold(run, bone="radius", fold=0, recipe=recipe)
    assert capsys.readouterr().out.count("trained before, kept") == 2
    files = folds.FoldFiles(folds.place_of(run, bone="radius", **PLACE), "0")
    members = [read_table(files.member(number).scores)["score"] for number in range(3)]
    np.testing.assert_array_equal(members[0], alone["score"])
    assert not np.allclose(members[0], members[1]) and not np.allclose(members[1], members[2])
    np.testing.assert_allclose(scores["score"], np.mean(members, axis=0))
    model = folds.load_fold(run, bone="radius", fold="0", **PLACE)
    assert isinstance(model, Ensemble)
    assert len(members_of(model)) == 3
    items = folds.items_of(run, bone="radius", recipe=recipe, **PLACE)
    held_out = items[items["fold"] == "0"]
    with torch.no_grad():
        logits = model(normalised(folds.batch_of(run, held_out, bone="radius", recipe=recipe)))[:, 0]
    np.testing.assert_allclose(
        logits, scores.set_index("participant_id")["score"][held_out["participant_id"]], rtol=1e-3, atol=1e-3
    )
    assert training.train_fold(run, bone="radius", fold=0, recipe=recipe).equals(scores)
    assert "fold 0: trained before, kept" in capsys.readouterr().out


def test_an_ensemble_that_another_one_half_overwrote_is_not_kept(run, monkeypatch):
    """Its scores would be those of one network, and its heat and its bundle those of another."""
    first, trained = replace(RECIPE, ensemble=2), []
    other = replace(first, lr=0.5)

    def train_one(run, files, *, made_from, recipe, **_):
        trained.append((recipe.lr, made_from["member"]))
        if trained[-1] == (other.lr, 1):
            raise KeyboardInterrupt
        scores = pd.DataFrame({"participant_id": ["P"], "split": "out-of-fold", "score": 0.0})
        history = pd.DataFrame({"epoch": [1], "train_loss": 1.0, "valid_loss": 1.0})
        tables = folds.FoldTables(scores, scores.drop(columns="split"), history)
        files.write(tables, made_from=made_from, model=torch.nn.Linear(1, 1), trained_on=())
        return tables

    monkeypatch.setattr(training, "_train_one", train_one)
    training.train_fold(run, bone="radius", fold=0, recipe=first)
    with pytest.raises(KeyboardInterrupt):
        training.train_fold(run, bone="radius", fold=0, recipe=other)
    trained.clear()
    training.train_fold(run, bone="radius", fold=0, recipe=first)
    assert trained == [(first.lr, 0)]


@pytest.mark.long
def test_heat_of_an_ensemble_is_the_mean_of_its_networks(run):
    """What each place adds to a mean of logits is the mean of what it adds to each."""
    recipe = replace(RECIPE, ensemble=2)
    cross_validate(run, bone="radius", recipe=recipe)
    explained = saliency.explain(run, bone="radius", recipe=recipe, most=1, **PLACE)
    scores = read_table(run.scores("radius")).set_index("participant_id")["score"]
    for woman in explained:
        assert woman.score == pytest.approx(scores[woman.participant_id], rel=1e-3, abs=1e-3)
        assert woman.heat.sum() == pytest.approx(1.0, abs=1e-5)


def test_training_women_are_scored_as_held_out_ones_and_reported_beside_them(run):
    """Without it nobody sees whether a network has learned anything."""
    cross_validate(run, bone="radius", recipe=RECIPE)
    table = read_table(run.training("radius"))
    assert table[["split", "n", "events"]].to_numpy().tolist() == [["training", 6, 3], ["out-of-fold", 6, 3]] * 2
    pd.testing.assert_frame_equal(learned.training_auc(run, bone="radius"), table, check_dtype=False)
    files = folds.FoldFiles(folds.place_of(run, bone="radius", **PLACE), "0")
    seen, unseen = (set(read_table(path)["participant_id"]) for path in (files.training, files.scores))
    assert seen.isdisjoint(unseen) and len(seen | unseen) == 12
    nothing = "not estimable (6 women, 3 events each)"
    assert said(table) == {"training": nothing, "out-of-fold": nothing}
    model = folds.load_fold(run, bone="radius", fold="0", **PLACE)
    items = folds.items_of(run, bone="radius", recipe=RECIPE, **PLACE)
    items = items[items["fold"] != "0"]
    with torch.no_grad():
        logits = model(normalised(folds.batch_of(run, items, bone="radius", recipe=RECIPE)))[:, 0]
    kept = read_table(files.training).set_index("participant_id")["score"]
    np.testing.assert_allclose(logits, kept[items["participant_id"]], rtol=1e-3, atol=1e-3)


def test_batches_from_the_stock_are_those_of_single_images(run):
    """The way that is fast must show what the way that is plain shows."""
    recipe = replace(RECIPE, images=2, low=-100.0, high=900.0)
    dls = bone_dataloaders(run, bone="radius", fold=0, recipe=recipe)
    items = dls.valid.items
    single = torch.stack([BoneImage.of(item, run=run, bone="radius", recipe=recipe) for item in items.itertuples()])
    at_once = dls.valid.stock.batch(dls.valid.rows)
    assert torch.equal(torch.Tensor(at_once), torch.Tensor(single))
    outcomes = torch.cat([batch[1] for batch in dls.valid]).tolist()
    assert outcomes == items["outcome"].tolist() == [int(dls.valid_ds[i][1]) for i in range(len(items))]


# Pooling and patches


def test_spread_tells_an_even_map_from_one_with_holes():
    """Both have the same mean and the same maximum, and fastai's pooling cannot tell them apart."""
    even = torch.full((1, 1, 8, 8), 0.5)
    even[0, 0, 0, 0] = 1.0
    holes = (torch.arange(64).reshape(1, 1, 8, 8) % 2).float()
    holes[0, 0, 0, 0] = even.sum() - holes.sum()
    one, other = SpreadPool()(even)[0], SpreadPool()(holes)[0]
    assert one.shape == (3,)
    assert one[0] == pytest.approx(float(other[0]))
    assert other[2] > 5 * one[2]


def test_the_spread_of_a_constant_map_has_a_slope():
    """Without a guard below the root the first dead channel would make every weight NaN."""
    for part, shape in ((SpreadPool(), (2, 3, 1, 1)), (SpreadBag(4), (2, 1, 4))):
        flat = torch.zeros(shape, requires_grad=True)
        part(flat).sum().backward()
        assert torch.isfinite(flat.grad).all()


def test_attention_is_a_weighted_mean_and_learns_what_to_look_at():
    """One patch of eight carries the outcome: the bag must find it."""
    torch.manual_seed(0)
    bag, last = AttentionBag(4), torch.nn.Linear(4, 1)
    same = torch.randn(1, 1, 4).expand(3, 8, 4)
    torch.testing.assert_close(bag(same), same[:, 0])
    optimiser = torch.optim.Adam([*bag.parameters(), *last.parameters()], lr=0.01)
    outcome = (torch.arange(64) % 2).float()
    for _ in range(150):
        patches = torch.randn(64, 8, 4)
        patches[:, 3, 0], patches[:, 3, 1] = 4.0, 3 * (2 * outcome - 1)  # the first feature marks the patch that tells
        loss = torch.nn.functional.binary_cross_entropy_with_logits(last(bag(patches))[:, 0], outcome)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        assert torch.softmax(bag.attention(patches), dim=1)[:, 3].mean() > 0.8


def images_of_bones() -> tuple[torch.Tensor, torch.Tensor, float]:
    """Two images as a network takes them, where their bones are, and what the cortex exceeds."""
    mask = torch.from_numpy(np.stack([labels()[0], np.roll(labels()[0], 6, axis=1)]))
    mask[mask == 3] = 0
    density = torch.where(mask == 2, 850.0, torch.where(mask == 1, 60.0, 0.0)) + 20 * torch.randn(2, SIZE, SIZE)
    images = normalised((density[:, None].expand(2, 3, SIZE, SIZE) + 400) / 1800)
    return images, mask > 0, Design.of(Recipe(patches=1, patch_mm=8.0), pixel_mm=0.5).shell


def test_a_patched_network_knows_where_the_bone_is_from_its_cortex():
    """Marrow is as dark as what surrounds the bone; patches of the empty field would teach nothing."""
    images, bone, shell = images_of_bones()
    found = bone_places(images, shell=shell)
    assert torch.equal(found, bone)
    assert bone_places(torch.zeros(1, 3, 8, 8), shell=shell).all(), "an image without a cortex is taken whole"


def test_the_place_of_the_bone_is_found_by_steps_that_every_card_has():
    """Torch 2.14 has no running maximum on MPS: networks of patches ended there in an error."""

    class OnMps(TorchDispatchMode):
        """Refuses what MPS lacks."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert "cummax" not in str(func), f"{func} is not implemented for MPS"
            return func(*args, **(kwargs or {}))

    images, bone, shell = images_of_bones()
    with OnMps():
        assert torch.equal(bone_places(images, shell=shell), bone)


def test_patches_are_random_within_the_bone_in_training_and_fixed_and_even_when_scored():
    """A score that changes from call to call is none; and a part of the bone that no patch shows counts for nothing."""
    _, bone, _ = images_of_bones()
    drawn = [random_places(bone, count=16) for _ in range(2)]
    fixed = [even_places(bone, count=16) for _ in range(2)]
    assert not torch.equal(*drawn) and torch.equal(*fixed)
    for places in (*drawn, fixed[0]):
        for image in (0, 1):
            assert bone[image][places[image, :, 0], places[image, :, 1]].all()
    rows, columns = bone[0].nonzero().T
    far = (
        ((fixed[0][0][None] - torch.stack([rows, columns], 1)[:, None]).float() ** 2).sum(2).min(1).values.sqrt().max()
    )
    assert far < 0.75 * np.sqrt(int(bone[0].sum()) / 4), "no hole as large as a quarter of the bone"
    speck = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    speck[0, 20, 20] = True
    assert even_places(speck, count=4).shape == (1, 4, 2)


def test_a_patch_is_what_lies_there():
    """Rows for columns would be another bone."""
    images = torch.arange(2 * 2 * 10 * 12).reshape(2, 2, 10, 12).float()
    places = torch.tensor([[[5, 6], [0, 11]], [[9, 0], [4, 4]]])
    patches = cut_patches(images, places, pixels=4)
    assert patches.shape == (4, 2, 4, 4)
    assert torch.equal(patches[0], images[0, :, 3:7, 4:8])
    assert torch.equal(patches[1], images[0, :, 0:4, 8:12])
    assert torch.equal(patches[2], images[1, :, 6:10, 0:4])


@pytest.mark.parametrize(
    "changes",
    [{"pooling": "spread"}, {"patches": 4, "patch_mm": 8.0}, {"patches": 4, "patch_mm": 8.0, "bag": "spread"},
     {"auxiliary": 0.5, "pooling": "spread", "ensemble": 2}, {"auxiliary": 0.5, "patches": 3, "patch_mm": 9.0}],
    ids=lambda changes: "-".join(map(str, changes.values())),
)  # fmt: skip
def test_every_reader_is_read_back_and_explained_or_says_why_not(run, changes, capsys):
    """Scores that the kept weights do not give again cannot be checked by anybody."""
    recipe = replace(RECIPE, **changes)
    scores = cross_validate(run, bone="radius", recipe=recipe).set_index("participant_id")["score"]
    for model, items in folds.held_out_folds(run, bone="radius", recipe=recipe, **PLACE):
        with torch.no_grad():
            logits = model(normalised(folds.batch_of(run, items, bone="radius", recipe=recipe)))
        assert logits.shape == (len(items), 1)
        np.testing.assert_allclose(logits[:, 0], scores[items["participant_id"]], rtol=1e-3, atol=1e-3)
    explained = saliency.explain(run, bone="radius", recipe=recipe, most=1, **PLACE)
    if recipe.patches:
        assert explained == []
        assert "A network of patches keeps no map of an image, so that there is no saliency" in capsys.readouterr().out
    else:
        assert len(explained) == 2


def test_settings_that_fit_no_network_are_refused(run):
    """Each in one sentence, and before anything is trained."""
    with pytest.raises(ValueError, match="patches are cut within the bone, which shows only with background=remove"):
        Recipe(patches=4, background="keep")
    with pytest.raises(
        ValueError, match=r"patch_mm is 6, which is 12 pixels of 0.5 mm, and a network reads 16 or more"
    ):
        training.train_fold(run, bone="radius", fold=0, recipe=replace(RECIPE, patches=4))
    with pytest.raises(ValueError, match="ensemble must be 1 or more"):
        Recipe(ensemble=0)
    with pytest.raises(ValueError, match="keeps no maps of places; pooling, patches and auxiliary need"):
        network(arch="test_vit", channels=3, design=Design(pooling="spread"))


# Indices told beside the outcome


def test_indices_are_standardised_in_the_training_women_alone(run):
    """Missing ones stay missing, and those that are the same in all are left out."""
    table = read_table(run.indices)
    women = table["participant_id"][:6]
    told = stock.targets_of(run, women, bone="radius")
    assert told.columns.tolist() == ["Tt.vBMD", "Ct.Th"]
    np.testing.assert_allclose(told.mean(), 0, atol=1e-12)
    np.testing.assert_allclose(told.std(), 1)
    assert told["Ct.Th"].isna().tolist() == [False, False, True, False, False, False]
    dls = bone_dataloaders(run, bone="radius", fold=0, recipe=replace(RECIPE, auxiliary=1.0))
    for loader, known in ((dls.train, True), (dls.valid, False)):
        batch = loader.one_batch()
        assert len(batch) == 3
        assert bool(torch.isfinite(batch[2][:, 0]).all()) is known
    with warnings.catch_warnings(action="ignore"):  # NumPy's, of how matplotlib reads a tensor
        assert len(show_images(dls, most=2)) == 2


def test_a_fine_first_layer_keeps_twice_the_places(run):
    """With the same weights, so that those of a file still fit; a trained fold is read back as it was."""
    published, fine = (network(arch="resnet18", channels=3, design=Design(first=first)).eval() for first in FIRST)
    images = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        maps = [tuple(model.get_submodule("0")(images).shape[2:]) for model in (published, fine)]
    assert maps == [(2, 2), (4, 4)]
    fine.load_state_dict(published.state_dict())
    with pytest.raises(ValueError, match="whose first layer does not halve"):
        network(arch="test_vit", channels=3, design=Design(first="fine"))
    recipe = replace(RECIPE, first="fine")
    training.train_fold(run, bone="radius", fold=0, recipe=recipe)
    kept = folds.load_fold(run, bone="radius", fold="0", **PLACE)
    assert next(layer for layer in kept.modules() if isinstance(layer, torch.nn.Conv2d)).stride == (1, 1)
    record = folds.FoldFiles(folds.place_of(run, bone="radius", **PLACE), "0").record
    known = read_json(record)
    write_json(record, known | {"recipe": {name: value for name, value in known["recipe"].items() if name != "first"}})
    older = folds.load_fold(run, bone="radius", fold="0", **PLACE)
    assert next(layer for layer in older.modules() if isinstance(layer, torch.nn.Conv2d)).stride == (2, 2)


def test_texture_is_told_beside_indices_or_in_their_place(run):
    """From its own table, by the same women."""
    indices = read_table(run.indices)
    texture = indices[["participant_id", "bone"]].assign(**{"Tb.Lean.bone": np.arange(12.0)})
    with pytest.raises(FileNotFoundError, match=r"texture\.csv"):
        stock.targets_of(run, ["P0001"], bone="radius", told="texture")
    write_table(run.texture, texture)
    women = indices["participant_id"][:6]
    found = {told: stock.targets_of(run, women, bone="radius", told=told) for told in TOLD}
    assert found["texture"].columns.tolist() == ["Tb.Lean.bone"]
    pd.testing.assert_frame_equal(found["both"], pd.concat([found["indices"], found["texture"]], axis=1))
    recipe = replace(RECIPE, auxiliary=1.0, told="both")
    training.train_fold(run, bone="radius", fold=0, recipe=recipe)
    record = folds.FoldFiles(folds.place_of(run, bone="radius", **PLACE), "0").record
    assert read_json(record)["targets"] == ["Tt.vBMD", "Ct.Th", "Tb.Lean.bone"]
    with pytest.raises(ValueError, match=r"told is 'risk'; use one of indices, texture, both\."):
        replace(RECIPE, told="risk")


def test_held_out_indices_are_never_read(run):
    """Scores must not move when they change; and must move when those of training women do, or this guards nothing."""
    recipe = replace(RECIPE, auxiliary=1.0)
    first = training.train_fold(run, bone="radius", fold=0, recipe=recipe)
    record = folds.FoldFiles(folds.place_of(run, bone="radius", **PLACE), "0").record
    table, splits = read_table(run.indices), read_table(run.splits)
    held_out = table["participant_id"].isin(splits.loc[splits["fold"] == "0", "participant_id"])
    for changed, moved in ((held_out, False), (~held_out, True)):
        shuffled = table["Tt.vBMD"].where(~changed, table["Tt.vBMD"].to_numpy()[::-1] * 3 + 7)
        write_table(run.indices, table.assign(**{"Tt.vBMD": shuffled, "Ct.Th": table["Ct.Th"].where(~changed)}))
        record.unlink()
        again = training.train_fold(run, bone="radius", fold=0, recipe=recipe)
        assert np.array_equal(first["score"], again["score"]) is not moved
    assert read_json(record)["targets"] == ["Tt.vBMD"]


def test_indices_count_in_the_loss_by_their_weight_where_they_are_known():
    """A missing value counts nothing, and a held-out woman's loss is that of her outcome."""
    outputs = torch.tensor([[0.0, 1.0, 5.0], [0.0, 2.0, 2.0]])
    outcome, indices = torch.tensor([0, 1]), torch.tensor([[0.0, float("nan")], [2.0, 4.0]])
    loss = OutcomeAndIndices(0.5)
    alone = torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], outcome.float())
    assert loss(outputs, outcome, indices) == pytest.approx(float(alone) + 0.5 * (1 + 0 + 4) / 3)
    assert loss(outputs[:, :1], outcome, indices) == pytest.approx(float(alone))
    model = network(arch="resnet18", channels=3, design=Design(targets=2))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 1)
    assert isinstance(network(arch="resnet18", channels=3, design=Design(patches=2, patch_px=16)), Patched)


def test_a_plain_network_is_fastais_own(run):
    """Weights of before, and of others, go on fitting."""
    cross_validate(run, bone="radius", recipe=RECIPE)
    kept = load_file(folds.FoldFiles(folds.place_of(run, bone="radius", **PLACE), "0").weights)
    assert set(kept) == set(network(arch="resnet18", channels=3, design=Design()).state_dict())
