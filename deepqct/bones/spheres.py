"""The compiled steps of local thickness, each over a range of slices or rows so that threads can share the work.

Lengths are in voxels, arrays (z, y, x); `first` and `last` bound the range, results go into the arrays given last. The
same names mean the same in all steps:

phi            the smoothed mask less one half: above 0 inside, and 0 at the surface
place, normal  (n, 3) centres of the discs that make up the surface, and where they face; with a normal of 0, points
site           the number of a voxel's disc, -1 for none; the next numbers are its further discs, `twin` of them
nearest        the number of the disc that is nearest to a voxel, -1 for none
radius         the radius of the largest sphere around a voxel
outer          the voxels outside the mask among the 27 around a disc's place, as bits; 0 for points
keep           True where a sphere is centred; of each slice `counts` tells how many, `starts` the number of the first
spheres        (n, 4) centre and radius
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deepqct.bones.planes import envelope
from deepqct.work import compiled

# Our choices, in voxels, tried on plates, rods and balls of known size at random places and orientations.
DISC_RADIUS = 0.5
FACING = 0.1  # crossings of a voxel make one disc if the cosine between them is above this
STEEPEST_RIDGE = 0.75  # a sphere lies in its neighbour's if the radius grows towards it by more than this per voxel
REACH = 0.5  # a sphere covers the voxels whose centres are up to this far beyond its surface
COARSE_RADIUS = 4.0  # of neighbouring spheres larger than this, one stands for several
MOVES = 5  # how often a sphere is moved at most


@compiled(fastmath=True)
def smooth(first: Any, last: Any, mask: Any, narrow: Any, wide: Any, out: Any) -> Any:
    """Smooth the mask into `out`, less one half: twice the narrow Gaussian less the wide one.

    Such a filter has no second moment, so that curved surfaces stay where they are. `narrow` and `wide` are the
    weights of seven voxels.
    """
    nz, ny, nx = mask.shape
    for z in range(first, last):
        along_z = np.empty((ny, nx), np.float32)
        along_y = np.empty((ny, nx), np.float32)
        out[z] = np.float32(-0.5)
        for which in range(2):
            taps = narrow if which == 0 else wide
            share = np.float32(2.0) if which == 0 else np.float32(-1.0)
            along_z[:] = 0
            for k in range(-3, 4):
                plane = mask[min(max(z + k, 0), nz - 1)]
                for y in range(ny):
                    for x in range(nx):
                        along_z[y, x] += taps[k + 3] * plane[y, x]
            along_y[:] = 0
            for y in range(ny):
                for k in range(-3, 4):
                    row = along_z[min(max(y + k, 0), ny - 1)]
                    for x in range(nx):
                        along_y[y, x] += taps[k + 3] * row[x]
            for y in range(ny):
                for x in range(nx):
                    total = np.float32(0)
                    for k in range(-3, 4):
                        total += taps[k + 3] * along_y[y, min(max(x + k, 0), nx - 1)]
                    out[z, y, x] += share * total


@compiled(fastmath=True)
def _discs_of(mask: Any, phi: Any, z: Any, y: Any, x: Any, place: Any, normal: Any, crossings: Any) -> Any:
    """Lay the discs of one inner voxel into `place` and `normal`, and return how many: 0 to 6.

    The surface crosses the lines to those of its six neighbours that are outside. The crossings that face one way make
    one disc by their mean. Where the smoothed mask has lost the voxel, as in struts of one voxel, or the one outside,
    the surface is the face between the two; plates and gaps of one voxel reach to their faces, too.
    """
    nz, ny, nx = phi.shape
    here = phi[z, y, x]
    crossed = 0
    for side in range(6):
        dz = (side == 1) - (side == 0)
        dy = (side == 3) - (side == 2)
        dx = (side == 5) - (side == 4)
        qz, qy, qx = z + dz, y + dy, x + dx
        if qz < 0 or qy < 0 or qx < 0 or qz >= nz or qy >= ny or qx >= nx or mask[qz, qy, qx]:
            continue
        t = 0.5
        if here > 0 and phi[qz, qy, qx] < 0:
            t = here / (here - phi[qz, qy, qx])
        oz, oy, ox = z - dz, y - dy, x - dx
        if oz >= 0 and oy >= 0 and ox >= 0 and oz < nz and oy < ny and ox < nx and not mask[oz, oy, ox]:
            t = max(t, 0.5)
        oz, oy, ox = qz + dz, qy + dy, qx + dx
        if oz >= 0 and oy >= 0 and ox >= 0 and oz < nz and oy < ny and ox < nx and mask[oz, oy, ox]:
            t = min(t, 0.5)
        s = 1 - t
        gz = s * (phi[min(z + 1, nz - 1), y, x] - phi[max(z - 1, 0), y, x])
        gz += t * (phi[min(qz + 1, nz - 1), qy, qx] - phi[max(qz - 1, 0), qy, qx])
        gy = s * (phi[z, min(y + 1, ny - 1), x] - phi[z, max(y - 1, 0), x])
        gy += t * (phi[qz, min(qy + 1, ny - 1), qx] - phi[qz, max(qy - 1, 0), qx])
        gx = s * (phi[z, y, min(x + 1, nx - 1)] - phi[z, y, max(x - 1, 0)])
        gx += t * (phi[qz, qy, min(qx + 1, nx - 1)] - phi[qz, qy, max(qx - 1, 0)])
        length = np.sqrt(gz * gz + gy * gy + gx * gx)
        if length < 1e-6:
            gz, gy, gx, length = -dz, -dy, -dx, 1.0
        crossings[crossed] = (z + t * dz, y + t * dy, x + t * dx, gz / length, gy / length, gx / length)
        crossed += 1
    if crossed == 0:
        return 0
    discs = 0
    members = np.zeros(6, np.float32)
    first = np.zeros(6, np.int32)
    for i in range(crossed):
        group = 0
        while group < discs:
            along = 0.0
            for d in range(3, 6):
                along += crossings[i, d] * crossings[first[group], d]
            if along > FACING:
                break
            group += 1
        if group == discs:
            discs += 1
            first[group] = i
            place[group] = 0
            normal[group] = 0
        members[group] += 1
        for d in range(3):
            place[group, d] += crossings[i, d]
            normal[group, d] += crossings[i, d + 3]
    for group in range(discs):
        length = max(np.sqrt(normal[group, 0] ** 2 + normal[group, 1] ** 2 + normal[group, 2] ** 2), 1e-6)
        for d in range(3):
            place[group, d] /= members[group]
            normal[group, d] /= length
    return discs


@compiled()
def _deep(mask: Any, z: Any, y: Any, x: Any) -> Any:
    """Whether all six neighbours are there and in the mask, as most are, so that no disc lies here."""
    nz, ny, nx = mask.shape
    if z == 0 or y == 0 or x == 0 or z == nz - 1 or y == ny - 1 or x == nx - 1:
        return False
    along_x = mask[z, y, x - 1] and mask[z, y, x + 1]
    return along_x and mask[z, y - 1, x] and mask[z, y + 1, x] and mask[z - 1, y, x] and mask[z + 1, y, x]


@compiled()
def count_discs(first: Any, last: Any, mask: Any, phi: Any, counts: Any) -> Any:
    """Count the discs of each slice into `counts`."""
    _, ny, nx = phi.shape
    place, normal, crossings = (
        np.empty((6, 3), np.float32),
        np.empty((6, 3), np.float32),
        np.empty((6, 6), np.float32),
    )
    for z in range(first, last):
        n = 0
        for y in range(ny):
            for x in range(nx):
                if mask[z, y, x] and not _deep(mask, z, y, x):
                    n += _discs_of(mask, phi, z, y, x, place, normal, crossings)
        counts[z] = n


@compiled()
def _outside(mask: Any, place: Any) -> Any:
    """Which of the 27 voxels around a place are outside the mask, as the bits of a number."""
    nz, ny, nx = mask.shape
    z, y, x = int(np.rint(place[0])), int(np.rint(place[1])), int(np.rint(place[2]))
    bits = np.uint32(0)
    for qz in range(max(z - 1, 0), min(z + 2, nz)):
        for qy in range(max(y - 1, 0), min(y + 2, ny)):
            for qx in range(max(x - 1, 0), min(x + 2, nx)):
                if not mask[qz, qy, qx]:
                    bits |= np.uint32(1) << np.uint32(9 * (qz - z) + 3 * (qy - y) + (qx - x) + 13)
    return bits


@compiled()
def lay_discs(
    first: Any, last: Any, mask: Any, phi: Any, starts: Any, site: Any, places: Any, normals: Any, twin: Any, outer: Any
) -> Any:
    """Number the discs of each voxel in `site`, and write their places, their normals, `twin` and `outer`."""
    _, ny, nx = phi.shape
    place, normal, crossings = (
        np.empty((6, 3), np.float32),
        np.empty((6, 3), np.float32),
        np.empty((6, 6), np.float32),
    )
    for z in range(first, last):
        n = starts[z]
        for y in range(ny):
            for x in range(nx):
                if not mask[z, y, x] or _deep(mask, z, y, x):
                    continue
                discs = _discs_of(mask, phi, z, y, x, place, normal, crossings)
                if discs == 0:
                    continue
                site[z, y, x] = n
                twin[n] = discs - 1
                for i in range(discs):
                    places[n] = place[i]
                    normals[n] = normal[i]
                    outer[n] = _outside(mask, place[i])
                    n += 1


@compiled()
def nearest_in_plane(first: Any, last: Any, site: Any, out: Any) -> Any:
    """Write the nearest voxel that has a disc in the same slice, as y · nx + x; nothing where the slice has no disc."""
    _, ny, nx = site.shape
    for z in range(first, last):
        near = np.empty((ny, nx), np.int32)
        for y in range(ny):
            seen = -1
            for x in range(nx):
                if site[z, y, x] >= 0:
                    seen = x
                near[y, x] = seen
            seen = -1
            for x in range(nx - 1, -1, -1):
                if site[z, y, x] >= 0:
                    seen = x
                if seen >= 0 and (near[y, x] < 0 or seen - x < x - near[y, x]):
                    near[y, x] = seen
        at, until, height = np.empty(ny, np.int32), np.empty(ny, np.float64), np.empty(ny, np.float64)
        valid = np.empty(ny, np.bool_)
        for x in range(nx):
            for y in range(ny):
                valid[y] = near[y, x] >= 0
                height[y] = (near[y, x] - x) ** 2 + y * y
            if envelope(height, valid, ny, at, until) == 0:
                continue
            j = 0
            for y in range(ny):
                while until[j] < y:
                    j += 1
                out[z, y, x] = at[j] * nx + near[at[j], x]


@compiled()
def nearest_overall(first: Any, last: Any, site: Any, inside: Any, out: Any) -> Any:
    """Turn what `nearest_in_plane` wrote into the number of the nearest disc of all slices; -1 outside of `inside`."""
    nz, _, nx = site.shape
    for y in range(first, last):
        at, until, height = np.empty(nz, np.int32), np.empty(nz, np.float64), np.empty(nz, np.float64)
        valid, plane = np.empty(nz, np.bool_), np.empty(nz, np.int32)
        for x in range(nx):
            for z in range(nz):
                plane[z] = out[z, y, x]
                valid[z] = plane[z] >= 0
                height[z] = (plane[z] // nx - y) ** 2 + (plane[z] % nx - x) ** 2 + z * z
            if envelope(height, valid, nz, at, until) == 0:
                continue
            j = 0
            for z in range(nz):
                while until[j] < z:
                    j += 1
                best = plane[at[j]]
                out[z, y, x] = site[at[j], best // nx, best % nx] if inside[z, y, x] else -1


@compiled(fastmath=True)
def _from_disc(z: Any, y: Any, x: Any, place: Any, normal: Any, i: Any) -> Any:
    """The vector to the point (z, y, x) from the nearest point of disc `i`, or from its centre if the normal is 0."""
    vz, vy, vx = z - place[i, 0], y - place[i, 1], x - place[i, 2]
    nz, ny, nx = normal[i, 0], normal[i, 1], normal[i, 2]
    if nz == 0 and ny == 0 and nx == 0:
        return vz, vy, vx
    h = vz * nz + vy * ny + vx * nx
    lz, ly, lx = vz - h * nz, vy - h * ny, vx - h * nx
    aside = np.sqrt(lz * lz + ly * ly + lx * lx)
    e = 1 - DISC_RADIUS / aside if aside > DISC_RADIUS else 0.0
    return h * nz + e * lz, h * ny + e * ly, h * nx + e * lx


@compiled(fastmath=True)
def radii(first: Any, last: Any, nearest: Any, place: Any, normal: Any, twin: Any, radius: Any) -> Any:
    """Write the distance of each voxel to the nearest of the discs known to it and to its six neighbours."""
    nz, ny, nx = nearest.shape
    for z in range(first, last):
        for y in range(ny):
            for x in range(nx):
                if nearest[z, y, x] < 0:
                    continue
                best = 1e18
                last = -1
                for side in range(-1, 6):
                    qz = z + (side == 1) - (side == 0)
                    qy = y + (side == 3) - (side == 2)
                    qx = x + (side == 5) - (side == 4)
                    if qz < 0 or qy < 0 or qx < 0 or qz >= nz or qy >= ny or qx >= nx:
                        continue
                    i = nearest[qz, qy, qx]
                    if i < 0 or i == last:
                        continue
                    last = i
                    for k in range(i, i + 1 + twin[i]):
                        vz, vy, vx = _from_disc(z, y, x, place, normal, k)
                        best = min(best, vz * vz + vy * vy + vx * vx)
                radius[z, y, x] = np.sqrt(best)


@compiled(fastmath=True)
def ridge(first: Any, last: Any, radius: Any, domain: Any, keep: Any, counts: Any) -> Any:
    """Mark in `keep` the voxels of the domain whose sphere lies in no neighbour's sphere, and count them by slice."""
    nz, ny, nx = radius.shape
    for z in range(first, last):
        n = 0
        for y in range(ny):
            for x in range(nx):
                here = radius[z, y, x]
                if here <= 0 or not domain[z, y, x]:
                    continue
                inner = 0 < z < nz - 1 and 0 < y < ny - 1 and 0 < x < nx - 1
                # Along the axes first, where most voxels find a larger sphere.
                if inner and (
                    max(
                        max(
                            max(radius[z, y, x - 1], radius[z, y, x + 1]), max(radius[z, y - 1, x], radius[z, y + 1, x])
                        ),
                        max(radius[z - 1, y, x], radius[z + 1, y, x]),
                    )
                    > here + STEEPEST_RIDGE
                ):
                    continue
                top = True
                for qz in range(max(z - 1, 0), min(z + 2, nz)):
                    for qy in range(max(y - 1, 0), min(y + 2, ny)):
                        if not top:
                            break
                        for qx in range(max(x - 1, 0), min(x + 2, nx)):
                            more = radius[qz, qy, qx] - here
                            apart = (qz - z) ** 2 + (qy - y) ** 2 + (qx - x) ** 2
                            if more > 0 and more * more > STEEPEST_RIDGE**2 * apart:
                                top = False
                if top:
                    keep[z, y, x] = True
                    n += 1
        counts[z] = n


@compiled(fastmath=True)
def _to_centre(sphere: Any, place: Any, normal: Any, outer: Any, around: Any, m: Any) -> Any:
    """The distance from a sphere's centre to the nearest voxel centre outside the mask, at the discs that it touches.

    0 where it touches points, and where no voxel outside is next to the discs.
    """
    cz, cy, cx, r = sphere[0], sphere[1], sphere[2], sphere[3]
    best = 1e18
    for k in range(m):
        i = around[k]
        if outer[i] == 0:
            continue
        dz, dy, dx = place[i, 0] - cz, place[i, 1] - cy, place[i, 2] - cx
        if dz * dz + dy * dy + dx * dx > (r + 0.3 + DISC_RADIUS) ** 2:
            continue
        vz, vy, vx = _from_disc(cz, cy, cx, place, normal, i)
        if vz * vz + vy * vy + vx * vx > (r + 0.3) ** 2:  # tried: those of further discs were never nearer
            continue
        dz, dy, dx = np.rint(place[i, 0]) - cz, np.rint(place[i, 1]) - cy, np.rint(place[i, 2]) - cx
        before, here, after = (dx - 1) ** 2, dx**2, (dx + 1) ** 2
        bits = outer[i]
        for qz in range(-1, 2):
            for qy in range(-1, 2):
                row = 1e18
                if bits & 1:
                    row = before
                if bits & 2:
                    row = min(row, here)
                if bits & 4:
                    row = min(row, after)
                best = min(best, row + (dz + qz) ** 2 + (dy + qy) ** 2)
                bits >>= np.uint32(3)
    return np.sqrt(best) if best < 1e17 else 0.0


@compiled(fastmath=True)
def move_to_middle(
    first: Any,
    last: Any,
    keep: Any,
    starts: Any,
    nearest: Any,
    place: Any,
    normal: Any,
    twin: Any,
    outer: Any,
    out: Any,
) -> Any:
    """Write the spheres of the ridge into `out`, each moved from what it touches until it is held from two sides.

    Between discs, a radius is held within half a voxel of the distance to the nearest voxel's centre outside the mask.
    """
    nz, ny, nx = keep.shape
    for z in range(first, last):
        n = starts[z]
        around, heads = np.empty(162, np.int32), np.empty(27, np.int32)
        # Of each disc around: where it lies, where it faces, how wide it is. In rows, which compilers turn into vectors.
        az, ay, ax, fz, fy, fx, wide = np.empty((7, 162), np.float64)
        tz, ty, tx, apart = np.empty((4, 162), np.float64)  # from each disc to the centre
        for y in range(ny):
            for x in range(nx):
                if not keep[z, y, x]:
                    continue
                m, different = 0, 0
                for qz in range(max(z - 1, 0), min(z + 2, nz)):
                    for qy in range(max(y - 1, 0), min(y + 2, ny)):
                        for qx in range(max(x - 1, 0), min(x + 2, nx)):
                            i = nearest[qz, qy, qx]
                            new = i >= 0
                            for k in range(different):
                                if heads[k] == i:
                                    new = False
                                    break
                            if new:
                                heads[different] = i
                                different += 1
                                for k in range(i, i + 1 + twin[i]):
                                    around[m] = k
                                    az[m], ay[m], ax[m] = place[k, 0], place[k, 1], place[k, 2]
                                    fz[m], fy[m], fx[m] = normal[k, 0], normal[k, 1], normal[k, 2]
                                    point = fz[m] == 0 and fy[m] == 0 and fx[m] == 0
                                    wide[m] = 0.0 if point else DISC_RADIUS
                                    m += 1
                pz, py, px = np.float64(z), np.float64(y), np.float64(x)
                best_r = 0.0
                for move in range(MOVES + 1):
                    nearest2 = 1e18
                    for k in range(m):
                        vz, vy, vx = pz - az[k], py - ay[k], px - ax[k]
                        h = vz * fz[k] + vy * fy[k] + vx * fx[k]
                        vz, vy, vx = vz - h * fz[k], vy - h * fy[k], vx - h * fx[k]
                        aside = max(np.sqrt(vz * vz + vy * vy + vx * vx), 1e-12)
                        e = max(1 - wide[k] / aside, 0.0)
                        tz[k] = h * fz[k] + e * vz
                        ty[k] = h * fy[k] + e * vy
                        tx[k] = h * fx[k] + e * vx
                        apart[k] = tz[k] * tz[k] + ty[k] * ty[k] + tx[k] * tx[k]
                    for k in range(m):
                        nearest2 = min(nearest2, apart[k])
                    r = np.sqrt(nearest2)
                    # Much further away than a voxel, discs that were not gathered may be nearer.
                    if r <= best_r or (pz - z) ** 2 + (py - y) ** 2 + (px - x) ** 2 > 1.5:
                        break
                    best_r = r
                    out[n] = (pz, py, px, r)
                    if move == MOVES:
                        break
                    uz, uy, ux, touching = 0.0, 0.0, 0.0, 0
                    touch2 = (r + 0.05) ** 2
                    for k in range(m):
                        if 0 < apart[k] < touch2:  # it touches
                            d = np.sqrt(apart[k])
                            uz, uy, ux = uz + tz[k] / d, uy + ty[k] / d, ux + tx[k] / d
                            touching += 1
                    length = np.sqrt(uz * uz + uy * uy + ux * ux)
                    if length < 0.1 * touching:  # held from opposite sides
                        break
                    uz, uy, ux = uz / length, uy / length, ux / length
                    step = 1.0
                    for k in range(m):
                        closing = 2 * (r - (tz[k] * uz + ty[k] * uy + tx[k] * ux))
                        if apart[k] >= touch2 and closing > 1e-6:
                            step = min(step, (apart[k] - r * r) / closing)
                    if step <= 1e-3:
                        break
                    pz, py, px = pz + step * uz, py + step * uy, px + step * ux
                centre = _to_centre(out[n], place, normal, outer, around, m)
                if centre > 0:
                    out[n, 3] = min(max(out[n, 3], centre - 0.5), centre + 0.5)
                n += 1


@compiled()
def number(first: Any, last: Any, keep: Any, starts: Any, voxel: Any, index: Any) -> Any:
    """Write where each sphere's voxel lies, and into `index` the number of each voxel's sphere, -1 for none."""
    _, ny, nx = keep.shape
    for z in range(first, last):
        n = starts[z]
        for y in range(ny):
            for x in range(nx):
                index[z, y, x] = -1
                if keep[z, y, x]:
                    voxel[n] = (z, y, x)
                    index[z, y, x] = n
                    n += 1


@compiled()
def thin_out(
    first: Any, last: Any, ends: Any, order: Any, rank: Any, spheres: Any, voxel: Any, index: Any, left: Any
) -> Any:
    """Decide which spheres are needed: from the largest down, those that lie in no neighbour that is needed.

    Spheres above `COARSE_RADIUS` also go if a needed one is next to them: painted with `REACH`, it covers nearly the
    same voxels. The `rank` of a needed one becomes 0; the others lose their place in `index`. Several threads decide at
    once, each about a slab's spheres, whose numbers stand in `order` from `ends` on, the lowest `rank` first: where it
    depends on a neighbour in another slab that is not decided yet, a sphere is `left` for the next call. So the result is
    that of one thread.
    """
    nz, ny, nx = index.shape
    for slab in range(first, last):
        undecided = 0
        for j in range(ends[slab], ends[slab] + left[slab]):
            i = order[j]
            z, y, x = voxel[i, 0], voxel[i, 1], voxel[i, 2]
            held, unsure = False, False
            cz, cy, cx, r, mine = spheres[i, 0], spheres[i, 1], spheres[i, 2], spheres[i, 3], rank[i]
            slack = (1.8 if r > COARSE_RADIUS else 1e-3) - r
            for qz in range(max(z - 1, 0), min(z + 2, nz)):
                for qy in range(max(y - 1, 0), min(y + 2, ny)):
                    if held:
                        break
                    for qx in range(max(x - 1, 0), min(x + 2, nx)):
                        k = index[qz, qy, qx]
                        if k < 0:
                            continue
                        if rank[k] == 0:
                            room = spheres[k, 3] + slack
                            apart = (spheres[k, 0] - cz) ** 2 + (spheres[k, 1] - cy) ** 2 + (spheres[k, 2] - cx) ** 2
                            held |= apart <= room * room
                        elif rank[k] < mine or (rank[k] == mine and k < i):
                            unsure = True
            if held:
                index[z, y, x] = -1
            elif unsure:
                order[ends[slab] + undecided] = i
                undecided += 1
            else:
                rank[i] = 0
        left[slab] = undecided


@compiled(fastmath=True)
def paint(first: Any, last: Any, mask: Any, spheres: Any, out: Any) -> Any:
    """Write the largest diameter of the spheres that cover each voxel of the mask; 0 where none does."""
    _, ny, nx = mask.shape
    for i in range(len(spheres)):
        cz, cy, cx = spheres[i, 0], spheres[i, 1], spheres[i, 2]
        diameter = 2 * spheres[i, 3]
        r = spheres[i, 3] + np.float32(REACH)
        for z in range(max(int(np.ceil(cz - r)), first), min(int(np.floor(cz + r)), last - 1) + 1):
            in_plane = r * r - (z - cz) ** 2
            if in_plane < 0:
                continue
            h = np.sqrt(in_plane)
            for y in range(max(int(np.ceil(cy - h)), 0), min(int(np.floor(cy + h)), ny - 1) + 1):
                in_row = in_plane - (y - cy) ** 2
                if in_row < 0:
                    continue
                w = np.sqrt(in_row)
                for x in range(max(int(np.ceil(cx - w)), 0), min(int(np.floor(cx + w)), nx - 1) + 1):
                    out[z, y, x] = max(out[z, y, x], diameter)
    for z in range(first, last):
        for y in range(ny):
            for x in range(nx):
                if not mask[z, y, x]:
                    out[z, y, x] = 0


@compiled()
def fill_gaps(first: Any, last: Any, mask: Any, painted: Any, out: Any) -> Any:
    """Write what is painted; where the mask has nothing, the most that is next to it, or one voxel if that is nothing."""
    nz, ny, nx = mask.shape
    for z in range(first, last):
        for y in range(ny):
            for x in range(nx):
                best = painted[z, y, x]
                if best == 0 and mask[z, y, x]:
                    best = np.float32(1)
                    for qz in range(max(z - 1, 0), min(z + 2, nz)):
                        for qy in range(max(y - 1, 0), min(y + 2, ny)):
                            for qx in range(max(x - 1, 0), min(x + 2, nx)):
                                best = max(best, painted[qz, qy, qx])
                out[z, y, x] = best
