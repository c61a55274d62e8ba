"""Make the sample data: a drawn delivery truck (truck.png) and its features (feature_map.npy).

Everything is drawn from fixed seeds, so that a second run writes the same bytes.  Shapes are laid
out in pixels of the finished picture, drawn several times larger and reduced for smooth edges; the
finest grain is added after the reduction, so that even a single 2x2 pool has something to lose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Point: TypeAlias = tuple[float, float]
Outline: TypeAlias = list[Point]
Colour: TypeAlias = tuple[int, int, int]
Floats: TypeAlias = NDArray[np.float64]

# Geometry, in pixels of the finished picture.
WIDTH, HEIGHT = 640, 480
SUPERSAMPLING = 4
HORIZON = 214.0
ROAD_TOP, ROAD_BOTTOM = 362.0, 446.0
GROUND = 408.0  # where the near wheels touch the road
DEPTH, CONVERGENCE = 76.0, 0.12  # how far the truck's front recedes: rightwards, to the horizon
BOX_LEFT, BOX_TOP, BOX_RIGHT, BOX_BOTTOM = BOX = (70.0, 118.0, 322.0, 324.0)
BAND_TOP = 272.0  # the dark stripe along the foot of the box
CAB_LEFT, NOSE = 340.0, 478.0
CAB = ((340, 176), (404, 176), (429, 239), (478, 247), (483, 346), (340, 346))
LARGE_CLOUDS = ((206, 84, 112, 32), (474, 70, 98, 36), (612, 132, 84, 22), (34, 112, 80, 24))
SMALL_CLOUDS = ((350, 24, 56, 9), (590, 22, 62, 9), (90, 22, 70, 9))
BALES = ((574, 296, 10.0), (548, 268, 6.0), (624, 262, 5.5), (50, 302, 10.0))
LEAF = np.array([(-1.0, 0.0), (0.0, -1.0), (1.0, 1.0)])
REAR_AXLE, FRONT_AXLE, WHEEL_RADIUS = 130.0, 436.0, 38.0

# Palette: late afternoon, with the sun at the upper left.
SKY = ((66, 130, 188), (122, 176, 208), (208, 216, 204), (254, 226, 178))
CLOUD = ((255, 253, 244), (240, 222, 208), (174, 172, 194))
FAR_HILL = ((158, 170, 178), (188, 186, 168))
MIDDLE_HILL = ((142, 152, 112), (186, 172, 104))
MEADOW = ((212, 190, 108), (162, 150, 72), (104, 110, 52))
HAY = ((250, 216, 130), (196, 148, 72), (120, 84, 46))
ASPHALT = ((128, 119, 113), (112, 104, 101), (92, 86, 86))
KERB = ((214, 203, 186), (160, 148, 136))
LEAVES = ((50, 56, 28), (102, 108, 40), (172, 152, 52), (244, 202, 96))
RUSSET_LEAVES = ((84, 40, 24), (158, 76, 32), (218, 128, 46), (255, 198, 104))
BARK = ((92, 68, 50), (58, 42, 34))
RED = ((214, 74, 48), (186, 50, 36), (138, 30, 28))
RED_SHADE = ((132, 38, 38), (96, 24, 30))
CREAM = ((252, 239, 208), (240, 220, 182), (218, 190, 150))
CREAM_SHADE = ((164, 144, 132), (140, 118, 110))
TEAL = ((32, 82, 88), (20, 58, 66))
GOLD, INK, WHITE = (240, 190, 88), (38, 28, 30), (255, 250, 236)
CHROME = ((250, 246, 236), (176, 190, 200), (74, 72, 78), (206, 196, 180), (110, 100, 98))
CHROME_SHADE = ((206, 212, 218), (120, 130, 142), (52, 50, 58), (150, 140, 132), (70, 64, 68))
GLASS = ((150, 186, 204), (88, 118, 134), (44, 56, 64))
RUBBER = ((62, 57, 56), (42, 38, 39), (26, 23, 25))
AMBER = (255, 170, 50)


class Canvas:
    """A transparent layer, addressed in pixels of the finished picture but drawn larger."""

    def __init__(self, seed: int) -> None:
        """Start empty, with a random source of its own."""
        self.image = Image.new("RGBA", (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING))
        self.random = np.random.default_rng(seed)

    def fill(  # noqa: PLR0913 - one brush for every kind of paint
        self,
        outline: Sequence[Point],
        *colours: Colour,
        across: bool = False,
        blur: float = 0.0,
        opacity: float = 1.0,
        inside: Sequence[Point] | None = None,
        width: float | None = None,
    ) -> None:
        """Fill an outline (or, given a width, stroke it) with a gradient through the colours."""
        margin = 3 * blur + (width or 0.0) + 1
        left = max(0, math.floor((min(x for x, _ in outline) - margin) * SUPERSAMPLING))
        top = max(0, math.floor((min(y for _, y in outline) - margin) * SUPERSAMPLING))
        right = math.ceil((max(x for x, _ in outline) + margin) * SUPERSAMPLING)
        bottom = math.ceil((max(y for _, y in outline) + margin) * SUPERSAMPLING)
        size = (min(right, self.image.width) - left, min(bottom, self.image.height) - top)
        if size[0] <= 0 or size[1] <= 0:
            return

        def local(points: Sequence[Point]) -> Outline:
            return [(x * SUPERSAMPLING - left, y * SUPERSAMPLING - top) for x, y in points]

        mask = Image.new("L", size)
        pen, strength = ImageDraw.Draw(mask), round(255 * opacity)
        if width is None:
            pen.polygon(local(outline), fill=strength)
        else:
            thickness = max(1, round(width * SUPERSAMPLING))
            pen.line(local(outline), fill=strength, width=thickness, joint="curve")
        if blur:
            mask = mask.filter(ImageFilter.GaussianBlur(float(blur) * SUPERSAMPLING))
        if inside is not None:
            clip = Image.new("L", size)
            ImageDraw.Draw(clip).polygon(local(inside), fill=255)
            mask = ImageChops.multiply(mask, clip)
        paint = gradient(colours, size, across=across)
        paint.putalpha(mask)
        self.image.alpha_composite(paint, (left, top))

    def line(
        self, points: Sequence[Point], width: float, colour: Colour, opacity: float = 1.0
    ) -> None:
        """Stroke a line through the points."""
        self.fill(points, colour, width=width, opacity=opacity)

    def text(  # noqa: PLR0913 - lettering has this many qualities
        self,
        words: str,
        centre: Point,
        size: float,
        colour: Colour,
        *,
        spacing: float = 0.0,
        weight: int = 0,
        slope: float = 0.0,
    ) -> None:
        """Letter the words around a centre, optionally sloping as on a turned face."""
        font = ImageFont.load_default(size=size * SUPERSAMPLING)
        advances = [font.getlength(letter) + spacing * SUPERSAMPLING for letter in words]
        length, height = math.ceil(sum(advances)), math.ceil(2 * size * SUPERSAMPLING)
        mask = Image.new("L", (length, height))
        pen, x = ImageDraw.Draw(mask), spacing * SUPERSAMPLING / 2
        for letter, advance in zip(words, advances, strict=True):
            pen.text((x, height * 0.68), letter, 255, font, anchor="ls", stroke_width=weight)
            x += advance
        shear = (1, 0, 0, -slope, 1, slope * length / 2)
        mask = mask.transform(mask.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC)
        paint = Image.new("RGBA", mask.size, colour)
        paint.putalpha(mask)
        left = round(centre[0] * SUPERSAMPLING - length / 2)
        top = round(centre[1] * SUPERSAMPLING - height / 2)
        self.image.alpha_composite(paint, (left, top))

    def reduced(self, grain: float = 0.0) -> Image.Image:
        """Reduce to the finished size, then add grain one pixel fine."""
        small = self.image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        pixels = np.asarray(small).astype(np.float64)
        pixels[..., :3] += self.random.normal(0.0, grain, (HEIGHT, WIDTH, 1))
        return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), "RGBA")


def gradient(colours: Sequence[Colour], size: tuple[int, int], *, across: bool) -> Image.Image:
    """Blend evenly through the colours, downwards or from left to right."""
    if len(colours) == 1:
        return Image.new("RGB", size, colours[0])
    length = size[0] if across else size[1]
    stops, places = np.linspace(0.0, 1.0, len(colours)), np.linspace(0.0, 1.0, length)
    channels = [np.interp(places, stops, channel) for channel in zip(*colours, strict=True)]
    ramp = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    ramp = ramp[np.newaxis] if across else ramp[:, np.newaxis]
    return Image.fromarray(ramp, "RGB").resize(size, Image.Resampling.NEAREST)


def mix(colours: Sequence[Colour], amount: float) -> Colour:
    """Pick the colour at a place from 0 to 1 along a gradient."""
    stops = np.linspace(0.0, 1.0, len(colours))
    red, green, blue = (
        int(np.interp(amount, stops, channel)) for channel in zip(*colours, strict=True)
    )
    return red, green, blue


def rectangle(left: float, top: float, right: float, bottom: float) -> Outline:
    """Outline an upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def oval(x: float, y: float, radius_x: float, radius_y: float | None = None) -> Outline:
    """Outline a circle or an upright ellipse."""
    radius_y = radius_x if radius_y is None else radius_y
    angles = np.linspace(0.0, 2 * math.pi, 73)
    return [(x + radius_x * math.cos(a), y + radius_y * math.sin(a)) for a in angles]


def rounded(outline: Sequence[Point], radius: float) -> Outline:
    """Round an outline's corners, each with a curve that begins one radius before it."""
    corners, curve = np.array(outline, dtype=np.float64), np.linspace(0.0, 1.0, 8)[:, np.newaxis]
    points: Outline = []
    neighbours = zip(np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0), strict=True)
    for corner, others in zip(corners, neighbours, strict=True):
        start, end = (
            corner + (other - corner) * min(0.5, radius / math.dist(corner, other))
            for other in others
        )
        bend = (1 - curve) ** 2 * start + 2 * curve * (1 - curve) * corner + curve**2 * end
        points += [(float(x), float(y)) for x, y in bend]
    return points


def receded(outline: Iterable[Point], depth: float) -> Outline:
    """Move points of the near side towards the truck's far side (depth 0 near, 1 far)."""
    return [(x + DEPTH * depth, y + (HORIZON - y) * CONVERGENCE * depth) for x, y in outline]


def extruded(edge: Sequence[Point], near: float, far: float) -> Outline:
    """Outline the surface that an edge of the near side sweeps between two depths."""
    return receded(edge, near) + receded(edge, far)[::-1]


def crowned(x: float, y: float, rise: float) -> Outline:
    """Trace an edge across the truck's front that arches up between its ends."""
    depths = np.linspace(0.0, 1.0, 25)
    edge: Outline = []
    for depth in depths.tolist():
        edge += receded([(x, y - rise * math.sin(math.pi * depth) ** 0.6)], depth)
    return edge


def sky() -> Image.Image:
    """Paint the sky, warmer towards the horizon and the sun."""
    canvas = Canvas(1)
    canvas.fill(rectangle(0, 0, WIDTH, HORIZON + 30), *SKY)
    canvas.fill(oval(30, 50, 90, 80), (255, 246, 222), blur=55, opacity=0.95)
    return canvas.reduced(grain=0.5)


def clouds() -> Image.Image:
    """Paint heaped clouds, each puff lit from above, and a few birds."""
    canvas = Canvas(2)
    for x, base, reach, height in LARGE_CLOUDS + SMALL_CLOUDS:
        places = canvas.random.uniform(-1, 1, 60)
        sizes = (1 - places**2) ** 0.7 * height * canvas.random.uniform(0.25, 0.62, 60) + 1.5
        lifts = (1 - places**2) * height * canvas.random.uniform(0.0, 0.95, 60)
        for puff in np.argsort(-lifts):
            size, shade = sizes[puff], 1 - 0.8 * lifts[puff] / height
            top, foot = mix(CLOUD, 0.35 * shade - 0.1), mix(CLOUD, 0.45 + 0.5 * shade)
            centre = (x + places[puff] * reach, base - lifts[puff])
            canvas.fill(
                oval(*centre, size * 1.3, size), top, foot, blur=size * 0.07 + 0.4, opacity=0.88
            )
    for x, y in ((262, 44), (276, 37), (287, 47), (534, 104), (547, 98)):
        wings = [(x - 5, y - 2), (x - 2, y - 3), (x, y), (x + 3, y - 3), (x + 6, y - 1.5)]
        canvas.line(wings, 0.9, INK, 0.8)
    return canvas.reduced(grain=1.0)


def hills() -> Image.Image:
    """Paint two hazy ranges and the meadow before them."""
    canvas = Canvas(3)
    across = np.arange(0, WIDTH + 8, 8.0)
    ranges = ((176, 17, 0.011, 1.0, FAR_HILL), (200, 11, 0.017, 4.1, MIDDLE_HILL))
    for level, swing, pace, phase, colours in ranges:
        ridge = level - swing * (np.sin(across * pace + phase) + 0.4 * np.sin(across * pace * 2.7))
        crest = list(zip(across.tolist(), ridge.tolist(), strict=True))
        canvas.fill([(0, 260), *crest, (WIDTH, 260)], *colours)
        for x, y in crest:
            bush = oval(x, y + 1, canvas.random.uniform(2, 5), canvas.random.uniform(1, 3))
            canvas.fill(bush, mix(colours, 0.1), opacity=0.7)
    canvas.fill(rectangle(0, 228, WIDTH, ROAD_TOP), *MEADOW)
    for x, y, reach in canvas.random.uniform((0, 236, 20), (WIDTH, 350, 90), (36, 3)):
        tone = mix(MEADOW, canvas.random.random())
        canvas.fill(oval(x, y, reach, reach * 0.07), tone, blur=2, opacity=0.55)
    for x, y, height in canvas.random.uniform((0, 234, 2), (WIDTH, 358, 6), (2600, 3)):
        tone = mix(MEADOW, canvas.random.random())
        canvas.line([(x, y), (x + height * 0.3, y - height)], 0.6, tone)
    for x, y, radius in BALES:
        canvas.fill(oval(x + radius, y + radius * 0.8, radius * 1.6, 2), INK, blur=1, opacity=0.5)
        roll = rectangle(x - radius, y - radius, x + radius * 2, y + radius)
        canvas.fill(rounded(roll, radius), *HAY)
        for share in (1.0, 0.75, 0.5, 0.25):
            canvas.fill(oval(x, y, radius * share), mix(HAY, 1 - share), HAY[1], opacity=0.9)
    return canvas.reduced(grain=4.0)


def leafy_tree(canvas: Canvas, foot: Point, height: float, leaves: Sequence[Colour]) -> None:
    """Add a tree: a trunk, and clumps of leaves that brighten towards the sun."""
    (x, y), radius = foot, height * 0.36
    trunk = [(x - height * 0.03, y), (x - 2, y - height / 2), (x + 2, y - height / 2)]
    canvas.fill([*trunk, (x + height * 0.03, y)], *BARK, across=True)
    turns = canvas.random.uniform(0, 2 * math.pi, 40)
    reach = np.sqrt(canvas.random.random(40)) * 0.85
    clumps = np.stack([np.cos(turns) * reach, np.sin(turns) * reach], axis=1)
    for clump_x, clump_y in clumps[np.argsort(-clumps[:, 1])]:
        middle = (x + clump_x * radius, y - height * 0.64 + clump_y * radius)
        canvas.fill(oval(*middle, radius * 0.16), leaves[0], opacity=0.8, blur=1)
        spots = canvas.random.normal(0.0, 0.115, (round(height * 1.1), 2))
        light = 0.46 - 1.6 * spots[:, 0] - 2.6 * spots[:, 1] - 0.2 * clump_x - 0.2 * clump_y
        light += canvas.random.normal(0.0, 0.12, len(spots))
        for place in np.argsort(light):
            spot = np.array(middle) + spots[place] * radius
            leaf = spot + LEAF * canvas.random.uniform(0.7, 1.6)
            canvas.fill(leaf.tolist(), mix(leaves, float(light[place])))


def trees() -> Image.Image:
    """Paint a far tree line, and larger trees that frame the truck."""
    canvas = Canvas(4)
    for x in np.arange(-4, WIDTH, 19):
        foot = (float(x) + canvas.random.uniform(-7, 7), 244 + canvas.random.uniform(-3, 5))
        leafy_tree(canvas, foot, canvas.random.uniform(24, 46), LEAVES)
    leafy_tree(canvas, (598, 322), 150, LEAVES)
    leafy_tree(canvas, (648, 336), 190, RUSSET_LEAVES)
    leafy_tree(canvas, (76, 320), 190, RUSSET_LEAVES)
    leafy_tree(canvas, (14, 340), 262, LEAVES)
    return canvas.reduced(grain=5.0)


def fence() -> Image.Image:
    """Paint a weathered fence along the far verge."""
    canvas = Canvas(5)
    wood = ((214, 190, 150), (120, 96, 72))
    for y in (322.0, 333.0):
        canvas.fill(rectangle(0, y, WIDTH, y + 2.4), *wood)
    for x in np.arange(6.0, WIDTH, 22.0):
        post = rectangle(x, 314 + canvas.random.uniform(-1.5, 1.5), x + 3.6, 350)
        canvas.fill(post, *wood, across=True)
    return canvas.reduced(grain=6.0)


def road() -> Image.Image:
    """Paint asphalt between two kerbs, with worn lane markings and cracks."""
    canvas = Canvas(6)
    canvas.fill(rectangle(0, ROAD_TOP, WIDTH, ROAD_BOTTOM), *ASPHALT)
    for y in (384.0, 412.0):
        canvas.fill(rectangle(-20, y, WIDTH + 20, y + 9), (66, 60, 60), blur=4, opacity=0.3)
    for x in np.arange(-30.0, WIDTH, 92.0):
        dash = [(x + 8, 428), (x + 58, 428), (x + 54, 433), (x + 3, 433)]
        canvas.fill(dash, (250, 236, 200), opacity=0.9)
    for x, y in canvas.random.uniform((0, 372), (WIDTH, 440), (7, 2)):
        steps = canvas.random.normal((5.0, 0.4), (2.0, 1.6), (9, 2)).cumsum(axis=0)
        crack = [(x + float(dx), y + float(dy)) for dx, dy in steps]
        canvas.line(crack, 0.6, (62, 56, 56), 0.8)
    for x, y in canvas.random.uniform((0, ROAD_TOP), (WIDTH, ROAD_BOTTOM), (1500, 2)):
        tone = mix(((54, 49, 50), (108, 100, 98), (164, 152, 142)), canvas.random.random())
        canvas.fill(rectangle(x, y, x + 1.1, y + 0.9), tone)
    for top, depth, block in ((ROAD_TOP - 5, 5.0, 26.0), (ROAD_BOTTOM, 9.0, 44.0)):
        canvas.fill(rectangle(0, top, WIDTH, top + depth), *KERB)
        for x in np.arange(9.0, WIDTH, block):
            canvas.line([(x, top), (x - depth * 0.3, top + depth)], 0.8, (104, 94, 88))
    return canvas.reduced(grain=8.0)


def shadow() -> Image.Image:
    """Paint the shadow that the truck casts on the road, away from the sun."""
    canvas = Canvas(7)
    cast = [(BOX_LEFT + 6, GROUND + 3), (NOSE + 8, GROUND + 3), (612, 388), (596, 374), (130, 374)]
    canvas.fill(cast, (40, 30, 44), blur=4, opacity=0.62)
    canvas.fill(rectangle(96, 380, NOSE + 26, 404), (16, 11, 18), blur=5, opacity=0.8)
    for x in (REAR_AXLE, FRONT_AXLE):
        canvas.fill(oval(x + 8, GROUND, 40, 4), (12, 8, 12), blur=2, opacity=0.9)
    return canvas.reduced()


def far_wheels() -> Image.Image:
    """Paint the far wheels, in the truck's own shade."""
    canvas = Canvas(8)
    for x in (FRONT_AXLE + DEPTH, REAR_AXLE + DEPTH):
        wheel = oval(x - 4, 350, 20, 33)
        canvas.fill(wheel, (54, 47, 48), (26, 21, 24))
        for y in np.arange(322.0, 384.0, 3.0):
            canvas.fill([(x - 4, y), (x + 16, y - 2)], (12, 9, 12), width=1.2, inside=wheel)
    return canvas.reduced(grain=3.0)


def chassis() -> Image.Image:
    """Paint what hangs beneath the box: frame, fuel tank, tool chest, rear bumper and lamp."""
    canvas = Canvas(9)
    canvas.fill(rectangle(BOX_LEFT + 30, 322, NOSE + 40, 362), (36, 29, 32), (14, 11, 14))
    canvas.fill(rectangle(BOX_LEFT + 4, 326, CAB_LEFT + 12, 338), (92, 74, 66), (40, 32, 34))
    canvas.fill(rounded(rectangle(188, 338, 266, 374), 6), *CHROME)
    for x in (204.0, 248.0):
        canvas.fill(rectangle(x, 336, x + 3.4, 375), (70, 58, 54), (30, 24, 26))
    canvas.fill(rounded(rectangle(310, 341, 336, 349), 4), *CHROME)
    canvas.fill(rectangle(280, 338, 322, 370), *TEAL)
    canvas.fill(rectangle(282, 340, 320, 352), (92, 140, 138), *TEAL)
    canvas.fill(rectangle(298, 350, 306, 354), *CHROME)
    canvas.fill(rectangle(BOX_LEFT - 4, 342, BOX_LEFT + 22, 350), *CHROME)
    canvas.fill(rectangle(BOX_LEFT + 12, 350, BOX_LEFT + 17, 392), (40, 33, 34), (22, 18, 20))
    canvas.fill(oval(BOX_LEFT + 3, 334, 3.6), (255, 120, 90), (170, 24, 24))
    return canvas.reduced(grain=3.0)


def box_front() -> Image.Image:
    """Paint the shaded front wall of the box, seen above the cab."""
    canvas = Canvas(10)
    edge = [(BOX_RIGHT, BOX_TOP), (BOX_RIGHT, BOX_BOTTOM)]
    wall = extruded(edge, 0, 1)
    canvas.fill(wall, *CREAM_SHADE)
    for depth in np.linspace(0.1, 0.9, 9):
        canvas.line(receded(edge, float(depth)), 0.8, (110, 92, 90))
    canvas.fill(extruded([(BOX_RIGHT, BOX_TOP - 2), (BOX_RIGHT, BOX_TOP + 7)], 0, 1), *RED_SHADE)
    canvas.fill(rectangle(318, 160, 420, 190), INK, blur=7, opacity=0.5, inside=wall)
    for depth in (0.2, 0.5, 0.8):
        ((x, y),) = receded([(BOX_RIGHT, BOX_TOP + 2)], depth)
        canvas.fill(oval(x, y, 2.4, 1.8), (255, 224, 150), AMBER)
    return canvas.reduced(grain=3.0)


def box_wall() -> Image.Image:
    """Paint the sunlit side of the box: cream above, a ribbed dark band below, a broad sheen."""
    canvas = Canvas(11)
    wall, band = rectangle(*BOX), rectangle(BOX_LEFT, BAND_TOP, BOX_RIGHT, BOX_BOTTOM)
    canvas.fill(wall, *CREAM)
    sheen = [(112, 110), (190, 110), (120, 330), (42, 330)]
    canvas.fill(sheen, WHITE, blur=12, opacity=0.6, inside=wall)
    canvas.fill(band, *TEAL)
    for y in np.arange(BAND_TOP + 4, BOX_BOTTOM, 3.0):
        canvas.line([(BOX_LEFT, float(y)), (BOX_RIGHT, float(y))], 0.7, (58, 112, 114), 0.7)
    canvas.fill(sheen, (120, 190, 190), blur=12, opacity=0.3, inside=band)
    canvas.fill(rectangle(BOX_LEFT, BAND_TOP - 3, BOX_RIGHT, BAND_TOP - 1), GOLD, (180, 122, 50))
    return canvas.reduced(grain=3.0)


def lettering() -> Image.Image:
    """Letter the box, from a large name down to a line that two pools make unreadable."""
    canvas = Canvas(12)
    middle = (BOX_LEFT + BOX_RIGHT) / 2
    canvas.text("POOL & SONS", (middle + 1.6, 171.6), 36, GOLD, weight=6)
    canvas.text("POOL & SONS", (middle, 170), 36, RED[1], weight=6)
    canvas.text("FREIGHT", (middle, 211), 26, TEAL[1], spacing=8, weight=6)
    for left, right in ((88, 112), (280, 304)):
        for y in (207.0, 211.0, 215.0):
            canvas.line([(left, y), (right, y)], 1, RED[1])
    canvas.text("MOVING & STORAGE  -  EST. 1962", (middle, 242), 10.5, INK, spacing=0.7)
    canvas.text("TELEPHONE 555-0142", (middle, 293), 13, CREAM[0], spacing=1.6, weight=1)
    canvas.text("we carry the maximum", (middle, 308), 9, GOLD, spacing=0.8)
    return canvas.reduced(grain=4.0)


def box_trim() -> Image.Image:
    """Paint what lies over the paint of the box: seams, rivets, rails and their shadows."""
    canvas = Canvas(13)
    for x in np.linspace(BOX_LEFT + 5, BOX_RIGHT - 8, 9):
        seam = [(float(x), BOX_TOP), (float(x), BOX_BOTTOM)]
        canvas.line(seam, 0.8, (110, 84, 66), 0.6)
        canvas.line([(a + 0.9, b) for a, b in seam], 0.6, WHITE, 0.5)
        for y in np.arange(BOX_TOP + 14, BOX_BOTTOM - 6, 6.5):
            canvas.fill(oval(x + 3, y, 0.8), WHITE, (120, 92, 74), opacity=0.8)
    for y in (BOX_TOP + 9, BAND_TOP):
        canvas.fill(rectangle(60, y, 330, y + 4), INK, blur=2, opacity=0.5, inside=rectangle(*BOX))
    for top, bottom in ((BOX_TOP - 2, BOX_TOP + 8), (BOX_BOTTOM - 7, BOX_BOTTOM + 1)):
        canvas.fill(rectangle(BOX_LEFT - 1, top, BOX_RIGHT + 1, bottom), (250, 150, 104), *RED)
        canvas.line([(BOX_LEFT, top + 1), (BOX_RIGHT, top + 1)], 0.8, (255, 214, 170), 0.9)
    for x in np.arange(BOX_LEFT + 6, BOX_RIGHT, 8):
        for y in (BOX_TOP + 4.5, BOX_BOTTOM - 2.5):
            canvas.fill(oval(float(x), y, 0.9), (255, 190, 150), RED[2])
    post = rectangle(BOX_RIGHT - 5, BOX_TOP + 8, BOX_RIGHT, BOX_BOTTOM - 7)
    canvas.fill(post, (206, 172, 132), WHITE, (226, 196, 156), across=True)
    return canvas.reduced(grain=3.0)


def stack() -> Image.Image:
    """Paint the exhaust stack with its perforated heat shield."""
    canvas = Canvas(14)
    chrome = (CHROME[1], CHROME[0], *CHROME[1:4])
    canvas.fill([(328, 104), (337, 100), (336, 346), (329, 346)], *chrome, across=True)
    canvas.fill(oval(332.5, 102, 4.5, 2), (30, 26, 28))
    canvas.fill(rectangle(326.5, 190, 338, 300), *chrome, across=True)
    for y in np.arange(194.0, 298.0, 3.2):
        canvas.fill(rectangle(329, y, 335.5, y + 1.3), (60, 52, 54))
    return canvas.reduced(grain=3.0)


def windscreen(canvas: Canvas) -> None:
    """Add the windscreen: two panes with the sky in them, beneath a visor with lamps."""
    canvas.fill(extruded([(402, 176), (430, 240)], 0, 1), *RED_SHADE)
    for near, far in ((0.05, 0.48), (0.52, 0.95)):
        pane = extruded([(410, 190), (428, 235)], near, far)
        canvas.fill(pane, *GLASS)
        (x, y), _, _, _ = pane
        for left, right in ((8, 17), (20, 22)):
            streak = [
                (x + left, y),
                (x + right, y),
                (x + right - 5, y + 50),
                (x + left - 5, y + 50),
            ]
            canvas.fill(streak, WHITE, (190, 214, 222), opacity=0.45, inside=pane)
        canvas.fill(pane[:1] + pane[-1:], INK, width=1, opacity=0.6)
        wiper = [*receded([(428, 235)], near + 0.1), *receded([(415, 204)], near + 0.3)]
        canvas.line(wiper, 0.9, INK)
    canvas.fill(extruded([(400, 174), (413, 189)], -0.02, 1.02), (206, 184, 160), *CREAM_SHADE)
    for depth in (0.2, 0.5, 0.8):
        ((x, y),) = receded([(404, 176)], depth)
        canvas.fill(oval(x, y, 3, 2), (255, 224, 150), AMBER)


def grille(canvas: Canvas) -> None:
    """Add the grille: slats so fine that a pool or two melts them together."""
    mouth = rounded(extruded([(480, 260), (482, 326)], 0.23, 0.77), 17)
    frame = rounded(extruded([(480, 256), (482, 330)], 0.195, 0.805), 20)
    canvas.fill([(x + 1, y + 2) for x, y in frame], INK, blur=2, opacity=0.5)
    canvas.fill(frame, *CHROME_SHADE[:4])
    canvas.fill(mouth, (30, 24, 30), (14, 11, 15))
    for depth in np.arange(0.22, 0.79, 3 / DEPTH):
        slat = receded([(481, 258), (481, 328)], float(depth))
        canvas.fill(slat, CHROME[0], CHROME[1], CHROME_SHADE[1], width=1.4, inside=mouth)
    for y in (278.0, 302.0):
        bar = receded([(481, y)], 0.2) + receded([(481, y)], 0.8)
        canvas.line(bar, 1.6, CHROME[0])
    canvas.text("P", (519, 250), 8, GOLD, weight=2)


def headlight(canvas: Canvas, depth: float) -> None:
    """Add a round headlight in a chrome ring, with its indicator below."""
    ((x, y),) = receded([(481, 286)], depth)
    canvas.fill(oval(x + 1, y + 1.5, 7.6, 10), INK, blur=1.2, opacity=0.6)
    canvas.fill(oval(x, y, 7, 9), *CHROME)
    canvas.fill(oval(x, y, 5.4, 7.2), WHITE, (255, 232, 170), (196, 160, 112))
    for shift in (-3.0, -1.0, 1.0, 3.0):
        canvas.line([(x + shift, y - 5), (x + shift, y + 5)], 0.6, (176, 150, 116), 0.7)
    canvas.fill(oval(x - 1.6, y - 2.8, 1.6, 2), WHITE, blur=0.3)
    ((x, y),) = receded([(482, 308)], depth)
    canvas.fill(oval(x, y, 3.4, 3), (255, 214, 130), AMBER, (176, 92, 24))


def cab_front() -> Image.Image:
    """Paint the shaded front: windscreen, bonnet top, nose, lights, bumper and number plate."""
    canvas = Canvas(15)
    windscreen(canvas)
    brow, scuttle = crowned(478, 250, 8), crowned(428, 238, 4)
    canvas.fill(scuttle + brow[::-1], (255, 206, 160), (232, 96, 62), RED[1])
    foot = receded([(483, 346)], 1) + receded([(483, 346)], 0)
    nose = brow + foot
    canvas.fill(nose, (178, 52, 44), *RED_SHADE)
    for depth in (0.1, 0.9):
        ((x, y),) = receded([(482, 306)], depth)
        swell = oval(x - 1, y, 7, 40)
        canvas.fill(swell, (236, 104, 74), RED[1], blur=3, opacity=0.6, inside=nose)
    canvas.line(brow, 1.2, (255, 188, 146), 0.8)
    grille(canvas)
    for depth in (0.1, 0.9):
        headlight(canvas, depth)
    bumper = extruded([(484, 336), (486, 354)], -0.05, 1.05)
    canvas.fill([(x, y - 3) for x, y in bumper], INK, blur=2, opacity=0.5)
    canvas.fill(bumper, *CHROME_SHADE)
    canvas.fill(receded([(484, 337.5)], -0.05) + receded([(484, 337.5)], 1.05), WHITE, width=1)
    canvas.fill(extruded([(486, 338), (487, 354)], 0.3, 0.7), WHITE, (226, 206, 160))
    canvas.text("MAX 2x2", (524.5, 338.5), 6.6, INK, weight=1, slope=-0.2)
    return canvas.reduced(grain=3.0)


def door(canvas: Canvas) -> None:
    """Add the door: its seam, a window with the driver behind reflections, handle and number."""
    seam = [(347, 184), (401, 184), (417, 240), (400, 262), (392, 306), (388, 338), (347, 338)]
    canvas.line(seam + seam[:1], 1, (92, 20, 22))
    canvas.line([(x + 1, y + 1) for x, y in seam + seam[:1]], 0.6, (255, 150, 110), 0.6)
    frame = rounded([(351, 187), (400, 187), (416, 239), (351, 239)], 8)
    canvas.fill(frame, *CHROME[:3])
    pane = rounded([(353, 189), (399, 189), (413, 237), (353, 237)], 6)
    canvas.fill(pane, *GLASS)
    shoulders = rounded([(360, 244), (366, 221), (388, 221), (398, 244)], 8)
    cap = rounded([(370, 207), (372, 197), (386, 197), (388, 203), (396, 207)], 2)
    canvas.fill(shoulders, (70, 66, 72), (30, 28, 34), opacity=0.9, inside=pane)
    canvas.fill(oval(378, 212, 6.6, 9.5), (120, 80, 62), (206, 150, 116), across=True, inside=pane)
    canvas.fill(oval(385, 212, 2.2, 1.9), (214, 158, 122), inside=pane)
    canvas.fill(oval(383, 216, 3.2, 1.4), (60, 40, 36), inside=pane)
    canvas.fill(cap, (64, 46, 48), (30, 22, 26), inside=pane)
    canvas.fill(oval(402, 236, 4, 13), INK, width=1.6, inside=pane, opacity=0.8)
    for left, right in ((350, 360), (362, 364), (398, 404)):
        streak = [(left + 16, 188), (right + 16, 188), (right - 6, 240), (left - 6, 240)]
        canvas.fill(streak, WHITE, (206, 224, 226), opacity=0.4, inside=pane)
    canvas.fill(rectangle(352, 190, 412, 196), INK, blur=1.5, opacity=0.4, inside=pane)
    canvas.fill(rounded(rectangle(351, 259, 364, 263), 1.8), INK, blur=0.8, opacity=0.6)
    canvas.fill(rounded(rectangle(351, 257, 364, 260.6), 1.7), *CHROME[:3])
    canvas.text("No. 4", (371, 282), 13, GOLD, weight=2)
    canvas.text("POOL & SONS", (371, 296), 5.6, CREAM[0], spacing=0.2)


def fender(canvas: Canvas) -> None:
    """Add the front fender, swelling over the dark wheel arch."""
    turns = np.radians(np.linspace(180, 360, 40))
    x, y = FRONT_AXLE, GROUND - WHEEL_RADIUS

    def arch(radius_x: float, radius_y: float) -> Outline:
        return [(x + radius_x * math.cos(t), y + radius_y * math.sin(t)) for t in turns]

    swell = [*arch(50, 56), (x + 50, 352), (x - 50, 352)]
    canvas.fill(
        [(a - 1, b - 3) for a, b in swell], INK, blur=3, opacity=0.45, inside=rounded(CAB, 10)
    )
    canvas.fill(swell[3:-5], (255, 150, 108), *RED)
    canvas.fill(arch(46, 51)[8:26], (255, 226, 196), blur=1.4, opacity=0.8, width=2.2)
    canvas.fill([*arch(42, 43), (x + 42, 360), (x - 42, 360)], (26, 18, 20))
    canvas.line(arch(42.4, 43.4)[6:-6], 1.2, (255, 170, 130), 0.5)


def mirror(canvas: Canvas, x: float, y: float) -> None:
    """Add a mirror on its two arms."""
    for shift in (4.0, 20.0):
        canvas.line([(x - 12, y + shift + 2), (x, y + shift)], 1.2, INK)
    canvas.fill(rounded(rectangle(x - 4, y, x + 4, y + 25), 2.5), *CHROME)
    canvas.fill(rounded(rectangle(x - 2.4, y + 2, x + 3, y + 23), 2), (196, 212, 216), *GLASS)


def cab_side() -> Image.Image:
    """Paint the sunlit side of the cab: panels, door, louvres, trim, fender and mirrors."""
    canvas = Canvas(16)
    mirror(canvas, *receded([(425, 196)], 1.12)[0])
    side = rounded(CAB, 10)
    canvas.fill(side, (240, 112, 76), *RED)
    canvas.fill(rectangle(300, 232, 420, 262), (255, 190, 150), blur=8, opacity=0.55, inside=side)
    canvas.fill(rectangle(330, 326, 500, 350), (70, 14, 20), blur=7, opacity=0.6, inside=side)
    canvas.fill(rectangle(336, 176, 344, 350), (80, 18, 22), blur=3, opacity=0.5, inside=side)
    canvas.fill(rectangle(330, 170, 420, 183), *CREAM, inside=side)
    door(canvas)
    for x in np.arange(430.0, 470.0, 3.6):
        canvas.fill(rectangle(x, 268, x + 1.6, 288), (70, 14, 18), (110, 26, 26))
        canvas.fill(rectangle(x + 1.6, 268, x + 2.3, 288), (255, 170, 130))
    for left, right, y in ((341, 414, 246.0), (420, 478, 252.0)):
        canvas.fill(rectangle(left, y, right, y + 2), *CHROME[:3])
    canvas.line([(420, 240), (420, 306)], 0.9, (92, 20, 22))
    fender(canvas)
    canvas.fill(rounded(rectangle(340, 344, 392, 352), 2), *CHROME)
    for x in np.arange(344.0, 390.0, 3.0):
        canvas.line([(x, 346), (x, 350)], 1, (60, 54, 56))
    canvas.fill(rounded(rectangle(474, 337, 487, 355), 3), *CHROME)
    mirror(canvas, 425, 196)
    return canvas.reduced(grain=3.0)


def tyre(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """Add a tyre with lugs along the tread and a thin pale ring on its wall."""
    canvas.fill(oval(x + 7, y - 1, radius), (24, 21, 23))
    for turn in np.linspace(0.0, 2 * math.pi, 56, endpoint=False):
        lug_x, lug_y = x + (radius - 1) * math.cos(turn), y + (radius - 1) * math.sin(turn)
        canvas.line([(lug_x - 1, lug_y), (lug_x + 6, lug_y)], 1.8, (54, 49, 49))
    canvas.fill(oval(x, y, radius - 1), *RUBBER)
    canvas.fill(oval(x, y, radius - 4), (92, 84, 80), width=0.7, opacity=0.8)
    canvas.fill(oval(x, y, radius - 8.5), (226, 212, 186), (150, 136, 124), width=2.2)


def rim(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """Add a spoked rim with a chrome edge, a hub cap and wheel nuts."""
    canvas.fill(oval(x, y, radius), *CHROME)
    canvas.fill(oval(x, y, radius - 2), (34, 24, 24), (58, 40, 36))
    for turn in np.linspace(0.0, 2 * math.pi, 20, endpoint=False):
        cosine, sine = math.cos(turn), math.sin(turn)
        tone = mix((*RED[::-1], GOLD), 0.45 - 0.4 * sine - 0.2 * cosine)
        start = (x + cosine * 6, y + sine * 6)
        canvas.line([start, (x + cosine * (radius - 2), y + sine * (radius - 2))], 1.7, tone)
    canvas.fill(oval(x, y, 10), *RED)
    for turn in np.linspace(0.3, 2 * math.pi + 0.3, 8, endpoint=False):
        canvas.fill(oval(x + 8 * math.cos(turn), y + 8 * math.sin(turn), 1.1), WHITE, CHROME[2])
    canvas.fill(oval(x, y, 5.6), *CHROME)
    canvas.fill(oval(x - 1.6, y - 2, 1.5), WHITE, blur=0.4)


def near_wheels() -> Image.Image:
    """Paint the near wheels, in the sun."""
    canvas = Canvas(17)
    for x in (REAR_AXLE, FRONT_AXLE):
        tyre(canvas, x, GROUND - WHEEL_RADIUS, WHEEL_RADIUS)
        rim(canvas, x, GROUND - WHEEL_RADIUS, WHEEL_RADIUS - 14)
    return canvas.reduced(grain=3.0)


def verge() -> Image.Image:
    """Paint the near grass, blade by blade, with a few flowers."""
    canvas = Canvas(18)
    canvas.fill(rectangle(0, 456, WIDTH, HEIGHT), *MEADOW[1:])
    places = canvas.random.uniform((0, 458), (WIDTH, 490), (2600, 2))
    for x, y in places[np.argsort(places[:, 1])]:
        height, lean = canvas.random.uniform(6, 13), canvas.random.normal(1.0, 2.2)
        tone = mix(((58, 74, 34), (118, 128, 52), (206, 186, 92)), canvas.random.random())
        canvas.fill([(x - 0.7, y), (x + lean, y - height), (x + 0.7, y)], tone)
    for x, y in canvas.random.uniform((0, 458), (WIDTH, 478), (46, 2)):
        canvas.fill(oval(x, y, 1.3), (255, 226, 130) if x % 2 < 1 else WHITE)
    return canvas.reduced(grain=4.0)


def glints() -> Image.Image:
    """Paint the stars of light that the sun strikes from chrome and glass."""
    canvas = Canvas(19)
    for x, y, reach in ((487, 281, 8), (478, 341, 6), (196, 342, 6), (332, 112, 6), (359, 194, 6)):
        canvas.fill(oval(x, y, reach * 0.5), WHITE, blur=reach * 0.25, opacity=0.6)
        canvas.line([(x - reach, y), (x + reach, y)], 0.8, WHITE, 0.9)
        canvas.line([(x, y - reach), (x, y + reach)], 0.8, WHITE, 0.9)
    return canvas.reduced()


def layers() -> list[Image.Image]:
    """List the layers from the back of the scene to the front."""
    return [
        sky(),
        clouds(),
        hills(),
        trees(),
        fence(),
        road(),
        shadow(),
        far_wheels(),
        chassis(),
        box_front(),
        box_wall(),
        lettering(),
        box_trim(),
        stack(),
        cab_front(),
        cab_side(),
        near_wheels(),
        verge(),
        glints(),
    ]


def truck() -> Image.Image:
    """Lay the layers over one another, and let the light fall off away from the sun."""
    picture = Image.new("RGBA", (WIDTH, HEIGHT))
    for layer in layers():
        picture.alpha_composite(layer)
    down, across = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    light = 1.05 - 0.06 * across - 0.04 * across**2 - 0.06 * down**2
    pixels = np.asarray(picture.convert("RGB")) * light[..., np.newaxis] * (1.02, 1.0, 0.97)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), "RGB")


def feature_kernels() -> list[Floats]:
    """List the filters: edges both ways, two diagonals, spots, and a small blur."""
    sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    diagonal = np.array([[0.0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
    spots = np.array([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    binomial = np.array([1.0, 4, 6, 4, 1]) / 16
    blur = np.outer(binomial, binomial)
    return [sobel, -sobel, sobel.T, -sobel.T, diagonal, np.fliplr(diagonal), spots, blur]


def feature_map(picture: Image.Image) -> NDArray[np.float32]:
    """Filter and rectify the picture's luminance, reduced eightfold: channels, rows, columns."""
    red_green_blue = np.asarray(picture, dtype=np.float64) / 255
    luminance = red_green_blue @ np.array([0.299, 0.587, 0.114])
    small = luminance.reshape(HEIGHT // 8, 8, WIDTH // 8, 8).mean(axis=(1, 3))
    channels = []
    for kernel in feature_kernels():
        padded = np.pad(small, kernel.shape[0] // 2, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
        channels.append(np.maximum((windows * kernel).sum(axis=(2, 3)), 0))
    return np.ascontiguousarray(np.stack(channels), dtype=np.float32)


def main() -> None:
    """Write the samples beside this program."""
    folder = Path(__file__).resolve().parent
    picture = truck()
    picture.save(folder / "truck.png", optimize=True)
    np.save(folder / "feature_map.npy", feature_map(picture))


if __name__ == "__main__":
    main()
