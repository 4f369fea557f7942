"""Controls and explanations: what must be at chance, what must be hidden, and whether the heat lies where the cue lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from permutation import permutation_test
from scipy import stats

from deepqct.curation.stacks import CORTICAL, TRABECULAR
from deepqct.folder import Run, read_table, write_json, write_table
from deepqct.networks import Recipe, controls, covered, cross_validate, folds, saliency
from deepqct.networks.data import items_of
from deepqct.networks.images import BoneImage, bone_images, image_masks, normalised
from deepqct.work import say

SIZE, RECIPE = 48, Recipe(arch="resnet18", epochs=1, images=1, batch_size=4)


def labels() -> np.ndarray:
    """A round bone with a shell in the middle of the field, and a piece of another in the corner."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    far = np.hypot(y, x)
    mask = np.where(far < 12, TRABECULAR, np.where(far < 16, CORTICAL, 0))
    mask[-6:, -6:] = 3
    return np.repeat(mask[None].astype(np.uint8), 3, axis=0)


def make_run(folder, *, n: int, cue: float) -> Run:
    """Women whose lower cortex is less dense with the event, by `cue` mgHA/cm³, and nothing else."""
    run, rng, mask = Run(folder), np.random.default_rng(1), labels()
    people, outcome = [f"sub-{i:04d}" for i in range(n)], np.arange(n) % 2
    run.bones.mkdir(parents=True)
    lower = (mask == CORTICAL) & (np.indices(mask.shape)[1] > SIZE / 2 + 7)
    for person, event in zip(people, outcome, strict=True):
        density = np.select([mask == CORTICAL, mask == TRABECULAR, mask == 3], [850.0, 180.0, 900.0], 30.0)
        density += rng.normal(scale=40, size=mask.shape) + rng.normal(scale=20)
        density[lower] -= cue * event
        np.save(run.stack(person, "radius"), density.astype(np.int16))
        np.save(run.stack_mask(person, "radius"), mask)
        write_json(run.stack_record(person, "radius"), {"made_from": person, "voxel_mm": [0.12, 0.5, 0.5]})
    write_table(run.participants, pd.DataFrame({"participant_id": people, "fracture": outcome}))
    write_json(run.dictionary, {"fracture": {"Role": "outcome"}})
    fold = (np.arange(n) // 2 % 2).astype(str)
    write_table(run.splits, pd.DataFrame({"protocol": "all", "repeat": 0, "participant_id": people, "fold": fold}))
    return run


@pytest.fixture
def run(tmp_path) -> Run:
    """Twelve women with the cue."""
    return make_run(tmp_path, n=12, cue=300.0)


def test_each_view_hides_what_it_says(run):
    """A control that still shows the bone would prove nothing."""
    bone, other = np.isin(labels()[0], (TRABECULAR, CORTICAL)), labels()[0] == 3

    def seen(**changes: object) -> np.ndarray:
        return bone_images(run, "sub-0001", "radius", view=replace(RECIPE, **changes).view)[0, 1]

    plain = seen()
    assert (plain[~bone] == 0).all() and plain[bone].mean() > 300
    assert seen(background="keep")[other].mean() > 800
    assert np.unique(seen(control="silhouette")[bone]).tolist() == [1000]
    surroundings = seen(control="background")
    assert surroundings.max() < 250, "neither bone may shine through"
    assert len(np.unique(surroundings[~bone & ~other])) > 50, "the tissue around it is there"
    one, again = seen(control="noise"), seen(control="noise")
    np.testing.assert_array_equal(one, again)
    assert abs(np.corrcoef(one[bone], plain[bone])[0, 1]) < 0.15
    np.testing.assert_array_equal(seen(control="permuted"), plain)


def test_slabs_crop_and_projection_are_the_recipe_s(run):
    """How many, how thick, how cropped."""
    view = replace(RECIPE, images=3, channels=1, crop=0.5, projection="max").view
    images = bone_images(run, "sub-0000", "radius", view=view)
    assert images.shape == (3, 1, SIZE // 2, SIZE // 2)
    stack = np.load(run.stack("sub-0000", "radius"))
    np.testing.assert_array_equal(images[1, 0, 12], np.where(labels()[1, 24, 12:36] > 0, stack[1, 24, 12:36], 0))
    thick = replace(RECIPE, images=1, channels=2, slab_mm=0.24, background="keep").view
    two = bone_images(run, "sub-0000", "radius", view=thick)[0]
    np.testing.assert_array_equal(two, np.rint(np.stack([stack[:2].mean(axis=0), stack[1:].mean(axis=0)])))
    with pytest.raises(ValueError, match="3 slices, fewer than 4 images"):
        bone_images(run, "sub-0000", "radius", view=replace(RECIPE, images=4).view)


def test_controls_train_only_what_is_looked_at(run):
    """Networks of a second protocol or repeat would cost hours and be shown nowhere."""
    splits = read_table(run.splits)
    again = [splits.assign(repeat=1), splits.assign(protocol="as-published")]
    write_table(run.splits, pd.concat([splits, *again]))
    scores = cross_validate(run, bone="radius", recipe=replace(RECIPE, control="noise"), repeats=2)
    assert set(scores["protocol"]) == {"all"}
    assert set(scores["repeat"]) == {0}
    assert [path.name for path in sorted(run.models("radius").glob("controls/noise/*"))] == ["all"]


def test_controls_keep_their_scores_to_themselves(run):
    """A control's scores in the bone's file would be fused as if they were the bone's."""
    scores = cross_validate(run, bone="radius", recipe=RECIPE)
    before = run.scores("radius").read_bytes()
    table = controls.run_controls(run, bone="radius", controls="permuted, noise", recipe=RECIPE, scores=scores)
    assert run.scores("radius").read_bytes() == before
    assert table["control"].tolist() == ["none", "permuted", "noise"]
    assert table["must_fail"].tolist() == [False, True, True]
    assert run.controls("radius").exists()
    controls.run_controls(run, bone="radius", controls="none", recipe=RECIPE, scores=scores)
    assert not run.controls("radius").exists()
    with pytest.raises(ValueError, match="controls names 'nois'"):
        controls.run_controls(run, bone="radius", controls="nois", recipe=RECIPE, scores=scores)


@pytest.mark.parametrize(
    ("effect", "alarm"), [(1.2, True), (0.6, False), (-0.8, False)], ids=["leak", "ill luck", "below chance"]
)
def test_a_leak_is_an_alarm_and_luck_is_none(tmp_path, monkeypatch, effect, alarm):
    """Scores of noise that know the outcome must not pass as chance; an AUC of 0.66 of 60 women is no leak yet."""
    run = make_run(tmp_path, n=60, cue=0.0)

    def told(run: Run, *, bone: str, recipe: Recipe, **_: object) -> pd.DataFrame:
        people = [f"sub-{i:04d}" for i in range(60)]
        table = {"protocol": "all", "repeat": 0, "participant_id": people, "split": "out-of-fold"}
        even = stats.norm.ppf((np.arange(60) // 2 + 0.5) / 30)
        return pd.DataFrame(table | {"score": even + effect * (np.arange(60) % 2)})

    monkeypatch.setattr(controls, "cross_validate", told)
    table = controls.run_controls(
        run, bone="radius", controls="noise,silhouette", recipe=RECIPE, scores=told(run, bone="radius", recipe=RECIPE)
    ).set_index("control")
    assert table.loc["noise", "at_chance"] is (not alarm)
    assert table.loc["noise", "low" if effect > 0 else "high"] > 0.5 - 1e-9 or effect < 0
    assert read_table(run.controls("radius"))["at_chance"].tolist() == table["at_chance"].tolist()


def test_too_few_women_are_neither_at_chance_nor_not(run, monkeypatch):
    """A verdict on two events would be invented."""

    def told(run: Run, *, bone: str, recipe: Recipe, **_: object) -> pd.DataFrame:
        people = [f"sub-{i:04d}" for i in range(4)]
        table = {"protocol": "all", "repeat": 0, "participant_id": people, "split": "out-of-fold"}
        return pd.DataFrame(table | {"score": np.arange(4) % 2 + 0.0})

    monkeypatch.setattr(controls, "cross_validate", told)
    table = controls.run_controls(
        run, bone="radius", controls="noise", recipe=RECIPE, scores=told(run, bone="radius", recipe=RECIPE)
    )
    assert table["at_chance"].tolist() == [None, None]


def test_permuted_outcomes_stay_within_their_folds(tmp_path):
    """A fold with more events leaves fewer to train on: dealt out across folds, chance would lie below one half."""
    run = make_run(tmp_path, n=40, cue=0.0)
    place = {"bone": "radius", "protocol": "all", "repeat": 0}
    true, dealt = (items_of(run, **place, recipe=replace(RECIPE, control=control)) for control in ("none", "permuted"))
    assert (true["outcome"] != dealt["outcome"]).any()
    np.testing.assert_array_equal(*(t.groupby("fold")["outcome"].sum() for t in (true, dealt)))


def test_permuted_outcomes_keep_the_rows_of_one_patient_together(tmp_path):
    """Two visits with the outcomes of two women would be easier to tell apart than chance allows."""
    run = make_run(tmp_path, n=40, cue=0.0)
    people = read_table(run.participants)
    twice = people.assign(patient_group=np.arange(40) // 8 * 4 + np.arange(40) % 4)
    write_table(run.participants, twice)
    dealt = items_of(run, bone="radius", protocol="all", repeat=0, recipe=replace(RECIPE, control="permuted")).merge(
        twice[["participant_id", "patient_group"]], on="participant_id"
    )
    assert (dealt.groupby("patient_group")["outcome"].nunique() == 1).all()
    assert (dealt["outcome"] != twice.set_index("participant_id")["fracture"][dealt["participant_id"]].to_numpy()).any()


def test_permuted_outcomes_are_at_chance_with_a_frozen_backbone(tmp_path):
    """The whole protocol under the null: a bias of the folds or of the head would show here."""
    run = make_run(tmp_path, n=40, cue=300.0)
    table = permutation_test(run, bone="radius", recipe=RECIPE, permutations=60, reference=199)
    null = table[table["permutation"] > 0]
    assert table["auc"].iloc[0] > 0.85, "the true outcomes are easy here"
    assert table["p"].iloc[0] == 1 / 200
    assert abs(null["auc_within"].mean() - 0.5) < 0.05
    assert stats.kstest(null["p"], "uniform").pvalue > 0.001


class Brightness(torch.nn.Module):
    """A network whose logit is how much of the picture is bright; its other map, which counts for nothing, is full."""

    def __init__(self) -> None:
        super().__init__()
        body = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.ReLU())
        with torch.no_grad():
            body[0].weight.copy_(torch.tensor([1.0, 0.0])[:, None, None, None].expand(2, 3, 1, 1))
            body[0].bias.copy_(torch.tensor([0.0, 5.0]))
        self.add_module("0", body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The mean of the first map."""
        return self.get_submodule("0")(x)[:, :1].mean(dim=(2, 3))


def test_grad_cam_shows_where_a_network_looks():
    """A map that shows something else would be worse than none, and darkness must be found as well as brightness."""
    plain = torch.full((4, 3, 32, 32), 0.5)
    bright, dark = plain[:1].clone(), plain[:1].clone()
    bright[:, :, 20:28, 4:12], dark[:, :, 20:28, 4:12] = 0.9, 0.1

    def logit(images: torch.Tensor) -> float:
        return Brightness()(normalised(images)).mean().item()

    reference = saliency.usual(Brightness(), [BoneImage(plain[:2]), BoneImage(plain[2:])])
    assert reference.logit == pytest.approx(logit(plain), rel=1e-6)
    for images, way in ((bright, 1), (dark, -1)):
        heat = saliency.grad_cam(Brightness(), BoneImage(images), reference=reference)[:1] * way
        assert heat.shape == (1, 32, 32)
        assert heat[:, 20:28, 4:12].sum() / np.abs(heat).sum() > 0.95
        gained = logit(images) - reference.logit
        assert way * heat.sum() == pytest.approx(gained, rel=0.02), "a linear network is explained whole"
    assert np.abs(saliency.grad_cam(Brightness(), BoneImage(plain[:2]), reference=reference)).max() < 1e-6


def test_each_image_along_the_bone_counts_from_its_own_usual_one():
    """What differs along every bone must not light up in every woman."""
    along = torch.stack([torch.full((3, 32, 32), 0.2), torch.full((3, 32, 32), 0.7)])
    reference = saliency.usual(Brightness(), [BoneImage(along), BoneImage(along)])
    assert np.abs(saliency.grad_cam(Brightness(), BoneImage(along), reference=reference)).max() < 1e-6


def test_strided_layers_leave_no_lattice_in_the_heat(monkeypatch):
    """Cells that more windows of the next layer see would light up in every woman."""
    torch.manual_seed(0)
    first, *strided = (torch.nn.Conv2d(3, 4, 1), *(torch.nn.Conv2d(4, 4, 3, stride=2, padding=1) for _ in range(2)))
    torch.nn.init.constant_(first.weight, 1.0)
    for layer in strided:
        torch.nn.init.constant_(layer.weight, 0.1)
    head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 1))
    model = torch.nn.Sequential(torch.nn.Sequential(first, *strided), head).eval()
    usual = torch.full((1, 3, 48, 48), 0.4)
    reference = saliency.usual(model, [BoneImage(usual)], finest=48)
    heat = saliency.grad_cam(model, BoneImage(usual + 0.1), reference=reference, finest=48)[0, 8:-8, 8:-8]
    assert heat.std() < 0.01 * abs(heat.mean())
    monkeypatch.setattr(saliency, "_NEIGHBOURHOOD", torch.ones(1))
    alone = saliency.grad_cam(model, BoneImage(usual + 0.1), reference=reference, finest=48)[0, 8:-8, 8:-8]
    assert alone.std() > 0.2 * abs(alone.mean()), "there was a lattice to be taken away"


def test_saliency_compares_with_women_of_the_other_folds(run):
    """A usual woman, or the mean under a cover, that the explained women made would know them."""
    where = {"bone": "radius", "protocol": "all", "repeat": 0, "recipe": RECIPE}
    cross_validate(run, bone="radius", recipe=RECIPE)
    for _, items in folds.held_out_folds(run, **where):
        others = set(folds.items_of_others(run, items, **where)["participant_id"])
        assert others
        assert others.isdisjoint(items["participant_id"])


def test_bones_of_any_size_are_registered():
    """Heat at the lower rim of a small and of a large bone must meet."""
    for radius in (8, 20):
        y, x = np.mgrid[:64, :64] - 31.5
        inside = np.hypot(y / 1.3, x) < radius
        rim = inside & (y > 0) & (np.abs(x) < 2) & (np.hypot(y / 1.3, x) > 0.8 * radius)
        found = saliency.registered(rim.astype(float), inside)
        angle, depth = np.unravel_index(np.argmax(found), found.shape)
        assert angle == pytest.approx(saliency.ANGLES / 4, abs=3), "below"
        assert depth > 0.7 * saliency.RADII
    assert covered.quarters(inside)[60, 32] == covered.QUARTERS.index("lower")


def test_a_part_is_covered_where_it_lies_in_that_image(run):
    """A bone is narrower above; its cortex there lies within the outline of its end."""
    mask = labels()
    mask[0] = np.where(np.roll(mask[0], 5, axis=1) == 3, 0, np.roll(mask[0], 5, axis=1))
    np.save(run.stack_mask("sub-0000", "radius"), mask)
    where = replace(RECIPE, images=3, channels=1).view
    np.testing.assert_array_equal(image_masks(run, "sub-0000", "radius", view=where), mask)
    (commonest,) = image_masks(run, "sub-0000", "radius", view=replace(RECIPE, images=1).view)
    np.testing.assert_array_equal(commonest, mask[1])
    covers = covered._covers(mask)
    np.testing.assert_array_equal(covers["cortex"], mask == CORTICAL)
    images = torch.zeros(3, 2, SIZE, SIZE)
    hidden = covered._covered(images, mask, covers["cortex"], {CORTICAL: 1.0, TRABECULAR: 2.0})
    np.testing.assert_array_equal(hidden.numpy(), np.repeat((mask == CORTICAL)[:, None], 2, axis=1))


class _LastAxisChannels(torch.nn.Module):
    """A body whose maps are (y, x, channels), as some transformers have them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(x, 2).permute(0, 2, 3, 1)


def test_a_network_without_maps_has_no_saliency_and_says_so(run, monkeypatch, capsys):
    """Sums over the wrong axis would be printed as places that it looked at."""
    body = torch.nn.Sequential(_LastAxisChannels(), torch.nn.Flatten(1))
    with pytest.raises(saliency.NoMapsError):
        saliency._layer(body, torch.zeros(2, 3, SIZE, SIZE), finest=12)
    model = torch.nn.Sequential(body, torch.nn.LazyLinear(1))
    monkeypatch.setattr("deepqct.networks.folds.load_fold", lambda *_, **__: model)
    assert saliency.explain(run, bone="radius", protocol="all", repeat=0, recipe=RECIPE) == []
    assert "there is no saliency" in capsys.readouterr().out


@pytest.mark.long
def test_saliency_and_occlusion_find_a_planted_cue(tmp_path):
    """The outcome lies in the lower cortex alone: the heat there is at least twice its share of the area."""
    run = make_run(tmp_path, n=80, cue=250.0)
    recipe = Recipe(arch="resnet34", epochs=10, images=1, batch_size=8, augment=False)
    cross_validate(run, bone="radius", recipe=recipe)
    where = {"protocol": "all", "repeat": 0}
    explained = saliency.explain(run, bone="radius", recipe=recipe, **where)
    place = (labels()[0] == CORTICAL) & (np.indices((SIZE, SIZE))[0] > SIZE / 2 + 7)
    bone = np.isin(labels()[0], (CORTICAL, TRABECULAR))
    mass = np.mean([one.heat[place].sum() / max(one.heat[bone].sum(), 1e-9) for one in explained])
    say(f"lower cortex: {mass:.2f} of the saliency on {place.sum() / bone.sum():.2f} of the bone")
    assert mass >= 2 * place.sum() / bone.sum()
    table = covered.occlusion(run, bone="radius", recipe=recipe, **where).set_index("part")
    say(table.to_string())
    for other in ("right", "upper", "left"):
        assert table.loc["lower quarter", "moved"] > 3 * table.loc[f"{other} quarter", "moved"]
    # Not by the column lost: where both scores separate the outcomes, no difference is estimated.
    area = table["estimate"]
    assert area["nothing"] - area["cortex"] > 0.3 > area["nothing"] - area["trabecular core"] + 0.2
