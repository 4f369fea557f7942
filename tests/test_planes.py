"""Discs over slices, against SciPy's distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from deepqct.bones import planes


@pytest.mark.parametrize("pixel_mm", [(0.5, 0.7), (0.0607, 0.0607), (1.0, 0.3)])
def test_distances_are_those_of_scipy(pixel_mm):
    """Every outline and compartment rests on these distances; a slice without the mask is infinitely far."""
    mask = np.random.default_rng(0).random((3, 60, 50)) < 0.03
    mask[1] = False
    found = planes.distance(mask, pixel_mm=pixel_mm)
    for z in (0, 2):
        expected = ndimage.distance_transform_edt(~mask[z], sampling=pixel_mm)
        np.testing.assert_allclose(found[z], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(planes.dilate(mask[z : z + 1], 1.0, pixel_mm=pixel_mm)[0], expected <= 1.0 + 1e-9)
    assert np.isinf(found[1]).all()


def test_a_ring_is_filled_also_where_the_border_cuts_it():
    ring = np.zeros((1, 20, 20), bool)
    ring[0, 5:15, :12] = True
    ring[0, 7:13, :10] = False
    assert planes.fill(ring)[0, 5:15, :12].all()
    assert planes.fill(ring).sum() == 120
