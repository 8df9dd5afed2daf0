"""People's files become what MNIST is: the digit survives every format and every way of taking a picture."""

import contextlib
import zlib

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps, PngImagePlugin

from benchmarks import renderings
from client import InvalidImage, NoDigit, contract, read_image, to_mnist
from client.image import MAX_PIXELS
from client.regions import find_regions, paint

COUNT = 200


@pytest.fixture(scope="module")
def images(mnist_test):
    """MNIST test images, uint8 [COUNT, 28, 28]."""
    return mnist_test[0][-COUNT:]


@pytest.fixture(scope="module")
def labels(mnist_test):
    return mnist_test[1][-COUNT:]


@pytest.fixture(scope="module")
def read(model_root):
    """The trained network itself: uint8 [n, 28, 28] to digits [n]."""
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(model_root / contract.MODEL / "1/assets.extra/model.tflite"), num_threads=1)

    def run(batch):
        entry = network.get_input_details()[0]["index"]
        network.resize_tensor_input(entry, batch.shape)
        network.allocate_tensors()
        network.set_tensor(entry, batch)
        network.invoke()
        return network.get_tensor(network.get_output_details()[0]["index"]).argmax(1)

    return run


def large(image, size=200):
    """Ink as a person's file has it: smooth and `size` pixels wide, from 0 to 1."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255


def dark_on_white(image):
    return Image.fromarray(np.round(255 * (1 - large(image))).astype(np.uint8))


def photo(image, paper=190, ink=70, shadow=0.0, size=360):
    """A digit somewhere on a grey sheet, with noise and a shadow that falls from the right."""
    sheet = np.full((size, size), float(paper))
    sheet[30:230, 110:310] -= large(image) * (paper - ink)
    sheet *= np.linspace(1, 1 - shadow, size)
    sheet += np.random.default_rng(0).normal(0, 4, sheet.shape)
    return Image.fromarray(sheet.clip(0, 255).astype(np.uint8))


def half_in_shadow(image, dark=0.5):
    """The edge of a shadow runs through the digit, a few pixels soft."""
    sheet = np.asarray(photo(image), float)
    down, across = np.mgrid[: sheet.shape[0], : sheet.shape[1]]
    edge = 1 / (1 + np.exp((across + down / 2 - 275) / 3))
    return Image.fromarray((sheet * (1 - dark * edge)).astype(np.uint8))


def under_a_shadow(picture, corners, dark=0.45):
    """Something between the lamp and a picture shades all within some corners, a few pixels soft."""
    shade = Image.new("L", picture.size, 255)
    for polygon in corners:
        ImageDraw.Draw(shade).polygon(polygon, fill=round(255 * dark))
    return ImageChops.multiply(picture, shade.filter(ImageFilter.GaussianBlur(2)))


def beside_a_patch_of_sun(image, corners=((40, 60), (220, 30), (280, 270), (80, 300))):
    """A window's light falls on a page in shade, and the digit stands in the shade."""
    sheet = Image.new("L", (460, 360), 230)
    sheet.paste(50, (330, 110), Image.fromarray(image).resize((100, 100), Image.Resampling.BICUBIC))
    light = Image.new("L", sheet.size, 130)
    ImageDraw.Draw(light).polygon(corners, fill=255)
    return ImageChops.multiply(sheet, light.filter(ImageFilter.GaussianBlur(2)))


def across_a_patch_of_sun(image):
    """A window's light falls on the middle of a digit, whose ends are in the shade."""
    sheet = Image.new("L", (400, 360), 230)
    sheet.paste(50, (60, 40), Image.fromarray(image).resize((280, 280), Image.Resampling.BICUBIC))
    light = Image.new("L", sheet.size, 115)
    ImageDraw.Draw(light).polygon(((150, 120), (250, 100), (260, 230), (140, 240)), fill=255)
    return ImageChops.multiply(sheet, light.filter(ImageFilter.GaussianBlur(2)))


def light_beside_a_dot(image):
    """White ink on grey paper, which has a dark speck."""
    sheet = Image.new("L", (320, 320), 110)
    ImageDraw.Draw(sheet).ellipse((10, 150, 27, 167), fill=30)
    sheet.paste(240, (60, 60), Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC))
    return sheet


def light_with_a_shadow(image):
    """White ink on grey, which throws a soft dark shadow down and to the right, as in slides and logos."""
    ink = Image.new("L", (320, 320))
    ink.paste(Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC), (60, 60))
    sheet = Image.new("L", ink.size, 110)
    sheet.paste(10, (7, 7), ink.filter(ImageFilter.GaussianBlur(3)))
    sheet.paste(245, (0, 0), ink)
    return sheet


def beside_a_note(image):
    """A blank white note on a grey page."""
    note = Image.new("LA", (160, 140), (250, 255)).rotate(8, Image.Resampling.BICUBIC, expand=True)
    sheet = Image.new("L", (480, 360), 185)
    sheet.paste(50, (240, 60), Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC))
    sheet.paste(note, (30, 120), note.getchannel("A"))
    return ImageChops.add(sheet, Image.effect_noise(sheet.size, 8), offset=-128)


def lit_from_a_corner(picture, least=0.3):
    pixels = np.asarray(picture, float)
    down, across = (np.linspace(0, 1, side) for side in pixels.shape)
    light = least + (1 - least) * (down[:, None] + across) / 2
    return Image.fromarray((pixels * light).astype(np.uint8))


def in_the_spot_of_a_lamp(image):
    """It is narrower than the page, and brighter than the paper around it by as much as the ink is darker."""
    pixels = np.asarray(photo(image, paper=220, ink=60), float)
    down, across = (np.linspace(0, 1, side) - 0.5 for side in pixels.shape)
    spot = 0.35 + 0.75 * np.exp(-(down[:, None] ** 2 + across**2) / 0.12)
    return Image.fromarray((pixels * spot).clip(0, 255).astype(np.uint8))


def in_black_and_white(image, level=100):
    """A photo whose corners are so dark that a program takes them for ink, with specks at their edge."""
    pixels = np.asarray(photo(image, paper=230, ink=40), float)
    down, across = (np.linspace(-1, 1, side) for side in pixels.shape)
    dark = 0.5 * np.hypot(down[:, None], across) ** 2
    return Image.fromarray(np.where(pixels * (1 - dark).clip(0) < level, 0, 255).astype(np.uint8))


def broken_in_a_corner(image):
    """A pen that skipped once, all across, and a digit that a program cut out and put into a corner."""
    ink = Image.fromarray(image)
    ink = ImageOps.contain(ink.crop(ink.getbbox()), (160, 160), Image.Resampling.BICUBIC)
    ImageDraw.Draw(ink).rectangle((0, 56, ink.width, 61), fill=0)
    sheet = Image.new("L", (200, 200), 255)
    sheet.paste(0, (0, 200 - ink.height), ink)
    return sheet


def in_white_on_black(image):
    """A digit in a photo with a darker corner, of which a program took the specks of noise for ink."""
    turned = photo(image, ink=40).rotate(180)
    lit = np.asarray(lit_from_a_corner(turned).rotate(180), float)
    lit += np.random.default_rng(0).normal(0, 12, lit.shape)
    return Image.fromarray(np.where(lit < 65, 255, 0).astype(np.uint8))


def letterboxed(image, ink=70):
    """A photo in a film's frame, with black bars on its left and right."""
    return ImageOps.expand(photo(image, ink=ink), (140, 0), 0)


def in_a_black_frame(image):
    """A photo cut close to the digit, with a thin black line around it."""
    return ImageOps.expand(photo(image).crop((150, 50, 270, 210)).resize((57, 75), Image.Resampling.BOX), 3, 0)


def as_mask(image, size=200, most=1):
    """Values of 0 and `most` as a program saves them, which look black."""
    return Image.fromarray(np.round(most * large(image, size)).astype(np.uint8))


def framed(image):
    picture = photo(image)
    ImageDraw.Draw(picture).rectangle((8, 8, 351, 351), outline=40, width=5)
    return picture


def in_a_cut_box(image):
    """What is seen of a box drawn by hand, the rest of which is beyond the picture."""
    picture = photo(image)
    ImageDraw.Draw(picture).line((70, 130, 75, 340, 359, 325), fill=40, width=4)
    return picture


def in_a_drawn_box(image, ink=70, open_by=0, size=600, width=420, height=340):
    """Four strokes on a sheet that cross at the corners, or leave them open, around a digit in one of these."""
    picture = photo(image, ink=ink, size=size)
    pen = ImageDraw.Draw(picture)
    for y, slope in ((20, 8), (height, -6)):
        pen.line((30 + open_by, y, width - open_by, y + slope), fill=50, width=5)
    for x, slope in ((48, -6), (width - 20, 5)):
        pen.line((x, 8 + open_by, x + slope, height + 12 - open_by), fill=50, width=5)
    return picture


def in_a_large_box(image):
    return in_a_drawn_box(image, size=900, width=600, height=500).resize((270, 270), Image.Resampling.BOX)


def low_in_a_small_box(image):
    """A small digit on the right in a box of a fifth of the sheet, whose strokes cross at the corners."""
    sheet = Image.new("L", (540, 540), 190)
    sheet.paste(dark_on_white(image).resize((33, 33)).point(lambda value: 70 + value * 120 // 255), (270, 255))
    pen = ImageDraw.Draw(sheet)
    for y, slope in ((216, 2), (324, -1)):
        pen.line((206, y, 334, y + slope), fill=70, width=2)
    for x, slope in ((210, -1), (330, 1)):
        pen.line((x, 212, x + slope, 328), fill=70, width=2)
    return sheet


def in_a_faint_box(image):
    """A thin box on a larger sheet, of which some is too pale for ink once the picture is smaller."""
    sheet = Image.new("L", (900, 900), 190)
    sheet.paste(dark_on_white(image).resize((100, 100)).point(lambda value: 70 + value * 120 // 255), (520, 420))
    corners = (400, 360, 650, 363, 647, 600, 403, 597, 400, 360)
    ImageDraw.Draw(sheet).line(corners, fill=130, width=3)
    return sheet


def low_in_a_circle(image):
    """A small digit near the lower right of the ring around it."""
    sheet = Image.new("L", (500, 500), 190)
    sheet.paste(dark_on_white(image).resize((110, 110)).point(lambda value: 70 + value * 120 // 255), (230, 240))
    ImageDraw.Draw(sheet).ellipse((120, 120, 380, 370), outline=70, width=4)
    return sheet


def in_one_of_two_boxes(image):
    """A form's boxes side by side on a larger sheet, with a label above."""
    sheet = Image.new("L", (480, 360), 230)
    sheet.paste(dark_on_white(image).resize((90, 90)).point(lambda value: value * 230 // 255), (248, 155))
    pen = ImageDraw.Draw(sheet)
    for left in (125, 235):
        pen.rectangle((left, 145, left + 110, 260), outline=60, width=3)
    pen.text((125, 110), "Quantity", fill=60, font_size=24)
    return sheet.rotate(1, Image.Resampling.BICUBIC, fillcolor=230)


def across_its_box(image, size=(200, 260), width=1):
    """A scanned cell of a form; the digit crosses the right side of the thin line around it."""
    (across, down), side = size, round(0.8 * size[0])
    edge, sheet = round(0.13 * across), Image.new("L", size, 240)
    ImageDraw.Draw(sheet).rectangle((edge, edge, across - edge, down - edge), outline=40, width=width)
    digit = Image.fromarray(np.round(255 - 215 * large(image, side)).astype(np.uint8))
    at = round(0.22 * across), (down - side) // 2
    sheet.paste(ImageChops.darker(digit, sheet.crop((*at, at[0] + side, at[1] + side))), at)
    return sheet.filter(ImageFilter.GaussianBlur(0.7))


def between_two_lines(image):
    """Two sides of a box in a picture that was taken askew."""
    picture = photo(image)
    for left, right in ((55, 10), (340, 295)):
        ImageDraw.Draw(picture).line((0, left, 359, right), fill=40, width=9)
    return picture


def on_graph_paper(image, rule=140, width=1):
    """A photo of squared paper, taken askew; the pen goes over the rules."""
    rules = Image.new("L", (360, 360), 255)
    for at in range(20, 400, 75):
        ImageDraw.Draw(rules).line((0, at, 359, at - 12), fill=rule, width=width)
        ImageDraw.Draw(rules).line((at - 12, 0, at, 359), fill=rule, width=width)
    return ImageChops.darker(photo(image), rules)


def underlined(image):
    picture = photo(image)
    ImageDraw.Draw(picture).line((0, 300, 359, 300), fill=60, width=3)
    return picture


def beside_punched_holes(image):
    """A scan of a sheet of a binder, whose holes have more ink each than the digit."""
    sheet = Image.new("L", (300, 400), 255)
    sheet.paste(dark_on_white(image).resize((64, 64)), (120, 150))
    for middle in (50, 150, 250, 350):
        ImageDraw.Draw(sheet).ellipse((8, middle - 16, 40, middle + 16), fill=20)
    return sheet


def beside_another(image):
    sheet = np.asarray(photo(image)).copy()
    sheet[30:230, :60] = np.minimum(sheet[30:230, :60], 190 - large(image)[:, 70:130] * 120)
    return Image.fromarray(sheet)


def under_another_line(image):
    """The feet of two digits of the line above, which the picture's edge cuts."""
    picture = photo(image)
    for left in (90, 240):
        ImageDraw.Draw(picture).arc((left, -80, left + 90, 25), 20, 160, fill=70, width=13)
    return picture


def on_a_desk(image, desk=70, turned=7, paper=190):
    """A page that lies askew on a dark desk."""
    page = photo(image, paper=paper, size=340).convert("LA")
    page = page.rotate(turned, Image.Resampling.BICUBIC, expand=True)
    sheet = Image.new("L", (560, 520), desk)
    sheet.paste(page, (80, 60), page.getchannel("A"))
    return ImageChops.add(sheet, Image.effect_noise(sheet.size, 8), offset=-128)


def held_in_a_hand(image, skin=165):
    """A thumb goes over the sheet's edge; it is nearer to the sheet in brightness than to the room."""
    page = photo(image, paper=225, size=340).convert("LA").rotate(-5, Image.Resampling.BICUBIC, expand=True)
    room = Image.new("L", (560, 520), 50)
    room.paste(page, (80, 30), page.getchannel("A"))
    ImageDraw.Draw(room).line((260, 385, 310, 560), fill=skin, width=70)
    ImageDraw.Draw(room).ellipse((222, 350, 298, 430), fill=skin)
    return ImageChops.add(room, Image.effect_noise(room.size, 8), offset=-128)


def held_before_a_face(image):
    """A webcam sees the sheet, a face behind it, and a lit patch of the wall that touches both."""
    room = Image.new("L", (640, 480), 60)
    pen = ImageDraw.Draw(room)
    pen.ellipse((240, 10, 400, 220), fill=160)
    pen.rectangle((380, 60, 639, 300), fill=140)
    room = room.filter(ImageFilter.GaussianBlur(4))
    page = photo(image, paper=220).resize((270, 270)).convert("LA").rotate(6, Image.Resampling.BICUBIC, expand=True)
    room.paste(page, (190, 150), page.getchannel("A"))
    return ImageChops.add(room, Image.effect_noise(room.size, 8), offset=-128)


def bordered(image, width=1):
    return ImageOps.expand(dark_on_white(image), width, fill=0)


def hanging_on_its_frame(image):
    """A cell with a thick black border, whose digit goes down to it."""
    digit = dark_on_white(image).crop((10, 10, 190, 190))
    foot = digit.point(lambda value: 255 * (value < 128)).getbbox()[3]
    return ImageOps.expand(digit.crop((0, 0, 180, foot)), 30, fill=20)


def edge_of_a_scan(image):
    picture = dark_on_white(image)
    picture.paste(20, (0, 0, 7, 200))
    picture.paste(20, (0, 195, 200, 200))
    return picture


def tiny(image, part=0.05, side=1000):
    sheet = np.asarray(photo(image, size=side), float)
    sheet[30:230, 110:310] = 190
    digit = large(image, round(part * side / 20 * 28))
    sheet[400 : 400 + len(digit), 600 : 600 + len(digit)] -= 120 * digit
    return Image.fromarray(sheet.clip(0, 255).astype(np.uint8))


def circled(image):
    picture = photo(image, size=560)
    ImageDraw.Draw(picture).ellipse((85, 5, 335, 255), outline=60, width=5)
    return picture


def with_a_thumb(image):
    picture = photo(image)
    ImageDraw.Draw(picture).ellipse((60, 225, 200, 420), fill=140)
    return picture


def beside_a_dark_thumb(image):
    """As dark as the ink, and more than ten times as large as the digit."""
    sheet = Image.new("L", (480, 360), 200)
    sheet.paste(60, (200, 110), Image.fromarray(image).resize((90, 90), Image.Resampling.BICUBIC))
    ImageDraw.Draw(sheet).ellipse((330, 200, 445, 460), fill=50)
    return sheet


def closely_underlined(image):
    picture = photo(image)
    ImageDraw.Draw(picture).line((170, 246, 240, 244), fill=60, width=11)
    return picture


def between_dashes(image):
    """Dashed lines above and below the digit, nearer to it than a dash is long."""
    sheet = ImageOps.expand(dark_on_white(image), 20, 255)
    for row in (22, 226):
        for at in range(40, 200, 50):
            ImageDraw.Draw(sheet).line((at, row, at + 42, row), fill=0, width=6)
    return sheet


def above_print(image):
    """A thin pen above a line of small print."""
    picture = photo(image).filter(ImageFilter.MaxFilter(9))
    ImageDraw.Draw(picture).text((110, 235), "Amount of 17. 5.", fill=80, font_size=32)
    return picture


def on_turned_lines(image):
    picture = photo(image, ink=110)
    for at in range(-40, 400, 50):
        ImageDraw.Draw(picture).line((0, at, 359, at + 65), fill=120, width=2)
    return picture


def plotted(image):
    """A figure with space for the numbers of its axes on two sides, and next to none on the others."""
    plot = Image.new("L", (330, 340), 255)
    plot.paste(Image.fromarray(image).resize((300, 300)).point(lambda value: 40 + value * 0.7), (26, 4))
    return plot


def in_a_figure(image):
    """White ink that reaches the axes of a figure, and so the white around them but for a thin line."""
    figure = Image.new("L", (640, 480), 255)
    pen = ImageDraw.Draw(figure)
    pen.text((280, 34), "Label: 5", fill=0, font_size=20)
    for at in range(8):
        pen.line((167 + 46 * at, 427, 167 + 46 * at, 432), fill=0)
        pen.line((138, 81 + 46 * at, 143, 81 + 46 * at), fill=0)
        pen.text((163 + 46 * at, 436), str(at), fill=0, font_size=14)
        pen.text((124, 73 + 46 * at), str(at), fill=0, font_size=14)
    figure.paste(ImageOps.expand(in_squares(like_ucis(image), 368), 1, 0), (143, 57))
    return figure


def under_a_title_bar(image):
    """A window's title, light on dark, which is a long rectangle with something on it as well."""
    window = Image.new("L", (360, 360), 245)
    window.paste(40, (0, 20, 360, 66))
    ImageDraw.Draw(window).text((20, 26), "My drawing 12", fill=230, font_size=30)
    window.paste(30, (90, 110), Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC))
    return window


def above_buttons(image):
    """A canvas on a screen, with two buttons below that have more ink than the digit."""
    window = Image.new("L", (260, 260), 255)
    window.paste(dark_on_white(image).resize((150, 150)), (55, 30))
    for left, colour, text in ((20, 120, "Clear"), (136, 90, "Predict")):
        ImageDraw.Draw(window).rectangle((left, 205, left + 104, 240), fill=colour)
        ImageDraw.Draw(window).text((left + 20, 212), text, fill=255, font_size=16)
    return window


def in_the_dark(image):
    """A photo at a high sensitivity: the noise is more than half of what the pen is."""
    sheet = np.full((360, 360), 120.0)
    sheet[60:210, 110:260] -= large(image, 150) * 70
    sheet += np.random.default_rng(0).normal(0, 40, sheet.shape)
    return Image.fromarray(sheet.clip(0, 255).astype(np.uint8))


def dusty(image):
    picture = photo(image)
    ImageDraw.Draw(picture).ellipse((20, 300, 28, 308), fill=20)
    return picture


def on_nothing(image, colour):
    picture = Image.new("RGBA", (200, 200), colour)
    picture.putalpha(Image.fromarray(np.round(255 * large(image)).clip(0, 255).astype(np.uint8)))
    return picture


def fringed(image):
    """White ink on nothing, made smaller together with the black that was stored where nothing is."""
    picture = on_nothing(image, "white")
    picture.paste("black", mask=picture.getchannel("A").point(lambda value: 255 * (value < 128)))
    picture.putalpha(on_nothing(image, "white").getchannel("A"))
    return picture


def cut_out(image):
    """A dark page with round corners and nothing around it."""
    page = ImageOps.invert(dark_on_white(image)).point(lambda value: 20 + value * 0.9).convert("RGBA")
    corners = Image.new("L", page.size)
    ImageDraw.Draw(corners).rounded_rectangle((2, 2, 197, 197), 40, fill=255)
    page.putalpha(corners)
    return page


def in_colours(image, ink, paper):
    return Image.composite(
        *(Image.new("RGB", (200, 200), colour) for colour in (ink, paper)), on_nothing(image, "black").getchannel("A")
    )


def deep(image):
    return Image.fromarray(np.asarray(dark_on_white(image), np.uint16) * 16)  # a 12-bit scan in 16 bits


def coloured(image):
    paper = Image.new("L", (200, 200), 245)
    return Image.merge("RGB", (paper, paper, dark_on_white(image)))  # yellow pen on white


def bold(image):
    """A marker's digit, cut out with next to no paper around it."""
    wide = Image.fromarray(image).filter(ImageFilter.MaxFilter(3))
    around = [side + by for side, by in zip(wide.getbbox(), (-1, -1, 1, 1), strict=True)]
    paper = ImageChops.invert(wide.crop(around))
    return paper.resize([9 * side for side in paper.size], Image.Resampling.BICUBIC)


def on_a_receipt(image):
    """A strip of paper that the picture's edges cut, on a desk."""
    sheet = Image.new("L", (640, 480), 60)
    sheet.paste(230, (220, 0, 420, 480))
    sheet.paste(40, (245, 165), Image.fromarray(image).resize((150, 150), Image.Resampling.BICUBIC))
    return sheet


def in_a_bar_of_shadow(image):
    sheet = Image.new("L", (360, 360), 225)
    sheet.paste(30, (80, 80), Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC))
    light = Image.new("L", sheet.size, 255)
    light.paste(128, (130, 0, 230, 360))
    return ImageChops.multiply(sheet, light.filter(ImageFilter.GaussianBlur(2)))


def in_the_shadow_of_a_finger(image):
    """It comes in from below, narrower than the broadest stroke might be, and ends on the digit."""
    sheet = Image.new("L", (360, 360), 225)
    sheet.paste(30, (130, 90), Image.fromarray(image).resize((90, 90), Image.Resampling.BICUBIC))
    light = Image.new("L", sheet.size, 255)
    ImageDraw.Draw(light).line((185, 135, 260, 400), fill=160, width=70)
    return ImageChops.multiply(sheet, light.filter(ImageFilter.GaussianBlur(2)))


def bold_above_small_print(image):
    """A pale digit with print, darker and thinner than its strokes, below it."""
    sheet = Image.new("L", (360, 360), 255)
    sheet.paste(150, (80, 40), Image.fromarray(image).resize((240, 240), Image.Resampling.BICUBIC))
    ImageDraw.Draw(sheet).text((140, 325), "Draw one digit", fill=0)
    return sheet


def pale_in_a_small_box(image):
    sheet = Image.new("L", (28, 28), 255)
    digit = Image.fromarray(image).resize((22, 22), Image.Resampling.BOX)
    sheet.paste(digit.point(lambda value: 255 - round(0.3 * value)), (3, 3))
    ImageDraw.Draw(sheet).rectangle((1, 1, 26, 26), outline=20)
    return sheet


def filled(image, side):
    """A digit from edge to edge, white on black as it is in MNIST."""
    left, top, right, bottom = Image.fromarray(image).point(lambda value: 255 * (value > 40)).getbbox()
    spare = (bottom - top - right + left) // 2
    across = (left - max(spare, 0), right + max(spare, 0))
    square = Image.fromarray(image).crop((across[0], top - max(-spare, 0), across[1], bottom + max(-spare, 0)))
    return square.resize((side, side), Image.Resampling.BOX if side < 20 else Image.Resampling.BICUBIC)


def like_ucis(image):
    """Eight pixels high from edge to edge and not in the middle, as UCI's digits are."""
    small = Image.fromarray(image)
    left, top, right, bottom = small.point(lambda value: 255 * (value > 40)).getbbox()
    small = small.crop((left, top, right, bottom))
    small = small.resize((min(8, max(2, round(8 * small.width / small.height))), 8), Image.Resampling.BOX)
    square = Image.new("L", (8, 8))
    square.paste(small, (max(0, 7 - small.width) if small.width > 3 else 2, 0))
    return square


def in_squares(image, side):
    return image.resize((side, side), Image.Resampling.NEAREST)


def grown(image, side):
    return Image.fromarray(255 - image).resize((side, side), Image.Resampling.BOX)


FORMS = {
    "200 px, dark on white": dark_on_white,
    "photo": photo,
    "shadow": lambda image: photo(image, shadow=0.6),
    "edge of a shadow": half_in_shadow,
    "shadow across a page on a desk": lambda image: under_a_shadow(
        on_a_desk(image, desk=100, paper=230), [[(0, 0), (430, 0), (330, 520), (0, 520)]]
    ),
    "patch of sun": beside_a_patch_of_sun,
    "patch of sun with three corners": lambda image: beside_a_patch_of_sun(image, ((30, 40), (270, 60), (110, 330))),
    "across a patch of sun": across_a_patch_of_sun,
    "white on grey beside a dot": light_beside_a_dot,
    "white on grey with a shadow": light_with_a_shadow,
    "note on a page": beside_a_note,
    "lit from a corner": lambda image: lit_from_a_corner(photo(image)),
    "spot of a lamp": in_the_spot_of_a_lamp,
    "scan lit from a corner": lambda image: lit_from_a_corner(dark_on_white(image)),
    "black and white with dark corners": in_black_and_white,
    "broken in a corner": broken_in_a_corner,
    "white on black with a light corner": in_white_on_black,
    "board lit from a corner": lambda image: lit_from_a_corner(photo(image, paper=60, ink=210)),
    "pale pencil": lambda image: photo(image, ink=155),
    "chalk on a board": lambda image: photo(image, paper=60, ink=210),
    "between black bars": letterboxed,
    "pale pencil between black bars": lambda image: letterboxed(image, ink=155),
    "close, in a black frame": in_a_black_frame,
    "mask of 0 and 1": as_mask,
    "mask of 0 and 1 of 28 px": lambda image: as_mask(image, 28),
    "16 levels of 28 px": lambda image: as_mask(image, 28, 16),
    "frame": framed,
    "cut box": in_a_cut_box,
    "large drawn box": in_a_large_box,
    "low in a small drawn box": low_in_a_small_box,
    "in a faint box": in_a_faint_box,
    "low in a circle": low_in_a_circle,
    "in one of two boxes": in_one_of_two_boxes,
    "across its box": across_its_box,
    "across a small box of two pixels": lambda image: across_its_box(image, (96, 125), 2),
    "pale pencil in a drawn box": lambda image: in_a_drawn_box(image, ink=155),
    "pale pencil in an open box": lambda image: in_a_drawn_box(image, ink=155, open_by=28),
    "receipt on a desk": on_a_receipt,
    "bar of shadow": in_a_bar_of_shadow,
    "shadow of a finger": in_the_shadow_of_a_finger,
    "pale and bold above small print": bold_above_small_print,
    "pale pencil in a box of 28 px": pale_in_a_small_box,
    "between two lines": between_two_lines,
    "graph paper": on_graph_paper,
    "graph paper, pale": lambda image: on_graph_paper(image, rule=150),
    "graph paper, bold": lambda image: on_graph_paper(image, rule=110, width=3),
    "page on a dark desk": on_a_desk,
    "small page on a dark desk": lambda image: on_a_desk(image).reduce(9),
    "page on a white desk": lambda image: on_a_desk(image, desk=250),
    "sheet held in a hand": held_in_a_hand,
    "sheet held by a light finger": lambda image: held_in_a_hand(image, skin=205),
    "sheet held before a face": held_before_a_face,
    "black line around": bordered,
    "dark edges of a scan": edge_of_a_scan,
    "hanging on its frame": hanging_on_its_frame,
    "tiny": tiny,
    "circled": circled,
    "thumb": with_a_thumb,
    "dark thumb": beside_a_dark_thumb,
    "beside punched holes": beside_punched_holes,
    "underlined": underlined,
    "closely underlined": closely_underlined,
    "between dashes": between_dashes,
    "cut neighbour": beside_another,
    "under another line": under_another_line,
    "above print": above_print,
    "turned lines": on_turned_lines,
    "plot": plotted,
    "in a figure with axes": in_a_figure,
    "under a title bar": under_a_title_bar,
    "above two buttons": above_buttons,
    "noise of a dark room": in_the_dark,
    "dust": dusty,
    "tight crop": lambda image: Image.fromarray(255 - image[4:24, 4:24]).resize((200, 200), Image.Resampling.BICUBIC),
    "transparent, black ink": lambda image: on_nothing(image, "black"),
    "transparent, white ink": lambda image: on_nothing(image, "white"),
    "transparent, white ink with a dark fringe": fringed,
    "transparent around a dark page": cut_out,
    "orange on grey, equally bright": lambda image: in_colours(image, (230, 120, 20), (142, 142, 142)),
    "16 bits": deep,
    "float": lambda image: Image.fromarray(large(image)),
    "palette": lambda image: dark_on_white(image).convert("P"),
    "adaptive palette": lambda image: dark_on_white(image).convert("RGB").quantize(8),
    "one bit": lambda image: dark_on_white(image).convert("1", dither=Image.Dither.NONE),
    "CMYK": lambda image: dark_on_white(image).convert("CMYK"),
    "grey with alpha": lambda image: dark_on_white(image).convert("LA"),
    "yellow pen": coloured,
    "14 px": lambda image: grown(image, 14),
    "from edge to edge, 10 px, dark on white": lambda image: ImageOps.invert(filled(image, 10)),
    "from edge to edge, 12 px": lambda image: filled(image, 12),
    "from edge to edge, 28 px": lambda image: filled(image, 28),
    "from edge to edge, one bit": lambda image: filled(image, 60).convert("1", dither=Image.Dither.NONE),
    "from edge to edge, 200 px": lambda image: filled(image, 200),
    "like UCI's": like_ucis,
    "like UCI's in squares": lambda image: in_squares(like_ucis(image), 160),
    "like UCI's in squares of two sizes": lambda image: in_squares(like_ucis(image), 28),
    "black squares on white with an odd margin": lambda image: ImageOps.expand(
        ImageOps.invert(in_squares(like_ucis(image), 160)), (33, 45), 255
    ),
    "black square of squares on white": lambda image: ImageOps.expand(in_squares(like_ucis(image), 160), 40, 255),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_network_reads_every_form_like_mnist(form, images, labels, read):
    prepared = np.stack([to_mnist(FORMS[form](image)) for image in images])
    assert (prepared.dtype, prepared.shape) == (np.uint8, images.shape)
    assert np.mean(read(prepared) == labels) >= np.mean(read(images) == labels) - 0.04


def test_eight_pixels_from_edge_to_edge_tell_as_much_as_with_paper_around_them(images, labels, read):
    tiny = [filled(image, 8) for image in images]
    alone, around = (np.stack([to_mnist(ImageOps.expand(one, width)) for one in tiny]) for width in (0, 2))
    assert np.mean(read(alone) == labels) >= np.mean(read(around) == labels) - 0.02


@pytest.mark.parametrize("form", renderings.FORMS)
def test_the_forms_that_are_measured_are_read_too(form, images, labels, read):
    files = renderings.render(form, images[:40])
    prepared, _ = renderings.read(files)
    assert np.mean(read(prepared) == labels[:40]) >= np.mean(read(images[:40]) == labels[:40]) - 0.05


@pytest.mark.parametrize("seed", range(6))
def test_a_photo_of_blank_paper_has_no_digit_for_all_its_shadow_and_noise(seed):
    paper = Image.new("RGB", (480, 400), (235, 228, 214))
    with pytest.raises(NoDigit, match="^blank, there is no ink on the paper$"):
        to_mnist(renderings.exposed(paper, np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", range(6))
def test_a_black_picture_has_no_digit_for_all_its_noise_of_one_level(seed):
    rng = np.random.default_rng(seed)
    down, across = (np.linspace(-1, 1, side) ** 2 for side in (120, 160))
    light = np.where(down[:, None] + across < 0.5, 1, 0)  # in the middle of a photo that was taken in the dark
    for values in (rng.random(light.shape) < 0.1**seed, light, (light + rng.normal(0, 0.2, light.shape)).round()):
        with pytest.raises(NoDigit, match="^blank, there is no ink on the paper$"):
            to_mnist(Image.fromarray(np.clip(values, 0, 1).astype(np.uint8)))


def test_strokes_that_look_like_rules_are_kept(read):
    picture = Image.new("L", (220, 300), 255)
    pen = ImageDraw.Draw(picture)
    pen.line((110, 0, 110, 300), fill=0, width=14)  # a 1 from edge to edge
    pen.line((40, 290, 180, 290), fill=0, width=14)
    upright = to_mnist(picture)
    assert upright.any(1).sum() == 20
    pen.rectangle((0, 0, 220, 300), fill=255)
    pen.line((0, 150, 220, 150), fill=0, width=10)  # a bar alone: a rule, or a 1 that lies
    assert to_mnist(picture).max() == 255


def test_a_stroke_that_is_of_one_value_is_found_on_a_grey_area():
    picture = Image.new("L", (120, 120), 255)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, 54, 119), fill=120)
    pen.rectangle((36, 42, 39, 90), fill=0)
    stroke = to_mnist(picture)
    assert (stroke.any(1).sum(), stroke.any(0).sum()) == (20, 2)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_a_paint_program_draws_has_a_digit_or_none(seed):
    rng = np.random.default_rng(seed)
    for _ in range(100):
        side = int(rng.integers(20, 200))
        picture = Image.new("L", (side, side), 255)
        pen = ImageDraw.Draw(picture)
        for tone, kinds in (((120, 190), [pen.rectangle, pen.ellipse]), ((0, 60), [pen.line, pen.rectangle])):
            for draw in rng.choice(kinds, rng.integers(1, 3)):
                corners = np.sort(rng.integers(0, side, (2, 2)), axis=0).ravel().tolist()
                draw(corners, fill=int(rng.choice(tone)), width=int(rng.integers(1, 9)))
        with contextlib.suppress(NoDigit):
            assert to_mnist(picture).shape == (28, 28)


def test_a_straight_stroke_from_rule_to_rule_is_kept_where_the_rules_are_paler():
    plain = Image.new("L", (300, 300), 250)
    ImageDraw.Draw(plain).line((200, 30, 70, 200, 250, 200, 200, 200, 200, 270), fill=30, width=7)
    ruled = Image.new("L", (300, 300), 255)
    for at in range(10, 300, 60):
        ImageDraw.Draw(ruled).line((0, at, 299, at), fill=170, width=2)
        ImageDraw.Draw(ruled).line((at, 0, at, 299), fill=170, width=2)
    difference = to_mnist(ImageChops.darker(plain, ruled)).astype(float) - to_mnist(plain)
    assert np.sqrt(np.mean(difference**2)) < 20  # of 255; without its bar 54


def lobes(paper=0.0):
    """An S that a quick stroke of a sixth of its darkness closes to an 8; `paper` is how much the sheet varies."""
    sheet = Image.new("L", (200, 260), 250)
    pen = ImageDraw.Draw(sheet)
    pen.line((135, 60, 70, 190), fill=215, width=6)
    pen.line((140, 50, 100, 30, 65, 70, 135, 165, 110, 215, 65, 195), fill=40, width=14, joint="curve")
    grain = np.random.default_rng(0).normal(0, paper, (260, 200))
    return Image.fromarray((np.asarray(sheet) + grain).clip(0, 255).astype(np.uint8))


def test_a_hairline_is_a_stroke_of_the_digit():
    plain, grainy = to_mnist(lobes()), to_mnist(lobes(paper=18))
    halves = plain[15:19, 7:12], grainy[15:19, 7:12]  # the lower left, where there is nothing else
    assert [half.max() > 25 for half in halves] == [True, False]


def test_a_line_of_one_pixel_on_a_large_canvas_does_not_fall_to_pieces(read):
    two = [(36, 33), (42, 27), (50, 25), (58, 29), (60, 37), (55, 48), (34, 74), (65, 72)]
    batch = []
    for side in range(500, 600, 20):
        canvas = Image.new("L", (side, side), 255)
        ImageDraw.Draw(canvas).line([(side * across / 100, side * down / 100) for across, down in two], fill=0)
        batch.append(to_mnist(canvas))
    assert (read(np.stack(batch)) == 2).all()


@pytest.mark.parametrize("pressed", [(), ((80, 35, 40, 91),), ((80, 35, 40, 91), (46, 106, 100, 107))])
def test_a_stroke_paler_than_what_counts_as_ink_belongs_to_the_digit_and_joins_its_parts(pressed):
    sheet = Image.new("L", (150, 150), 250)
    pen = ImageDraw.Draw(sheet)
    pen.line((80, 35, 30, 105, 120, 108), fill=205, width=5)
    pen.line((118, 40, 122, 140), fill=40, width=7)
    for stroke in pressed:
        pen.line(stroke, fill=60, width=4)
    assert to_mnist(sheet)[:, :10].max() > 100  # the left of a 4, whose right stroke is a 1 without it


def test_a_bold_digit_that_fills_the_picture_is_ink_and_not_the_paper(images):
    for image in images[:100]:
        cut = bold(image)
        difference = to_mnist(cut).astype(float) - to_mnist(ImageOps.expand(cut, 80, 255))
        assert np.sqrt(np.mean(difference**2)) < 70  # of 255; 84 to 112 where the paper is taken for ink


@pytest.mark.parametrize("polarity", ["ink is 255", "ink is 0"])
def test_mnist_saved_as_png_comes_through_unchanged(polarity, images, tmp_path):
    unchanged = 0
    for image in images:
        Image.fromarray(image if polarity == "ink is 255" else 255 - image).save(tmp_path / "digit.png")
        unchanged += np.array_equal(read_image(tmp_path / "digit.png"), image)
    assert unchanged >= 0.99 * COUNT


@pytest.mark.parametrize("side", [100, 280, 1000])
def test_mnist_shown_in_squares_comes_through_unchanged(side, images):
    assert all(np.array_equal(to_mnist(in_squares(Image.fromarray(image), side)), image) for image in images)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_was_stored_turned_is_turned_back(orientation, images, tmp_path):
    turn = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turn |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    upright = photo(images[0])
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose[turn[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    difference = read_image(tmp_path / "photo.png").astype(float) - to_mnist(upright)
    assert np.abs(difference).mean() < 3  # not 0, as it is made smaller first; turned wrongly it is 40


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "ico"])
def test_every_file_format_holds_the_same_digit(suffix, images, tmp_path):
    for image in images[:20]:
        drawn = dark_on_white(image)
        drawn.save(tmp_path / f"digit.{suffix}")
        difference = read_image(tmp_path / f"digit.{suffix}").astype(float) - to_mnist(drawn)
        assert np.sqrt(np.mean(difference**2)) < 40  # of 255; different digits are 100 apart


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_of_several_small_frames_the_first_is_read(suffix, images, tmp_path):
    drawn, other = map(dark_on_white, images[:2])
    drawn.save(tmp_path / f"film.{suffix}", save_all=True, append_images=[other])
    difference = read_image(tmp_path / f"film.{suffix}").astype(float) - to_mnist(drawn)
    assert np.sqrt(np.mean(difference**2)) < 40


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_transparency_holds_the_same_digit(mode, images):
    drawn = dark_on_white(images[0]).convert(mode.upper())
    np.testing.assert_array_equal(to_mnist(drawn.convert(mode)), to_mnist(drawn))


def test_the_digit_is_centred_by_mass_and_fits_a_20_px_box(images):
    for image in images[:50]:
        prepared = to_mnist(photo(image)).astype(float)
        rows, columns = prepared.sum(1), prepared.sum(0)
        assert max(np.ptp(np.flatnonzero(rows)), np.ptp(np.flatnonzero(columns))) == 19
        centre = [float(line @ (np.arange(28) + 0.5) / line.sum()) for line in (rows, columns)]
        assert np.abs(np.subtract(centre, 14)).max() <= 2  # as far as the box can move


def test_where_the_digit_stands_on_the_paper_changes_nothing(images):
    def at(left, top):
        sheet = Image.new("L", (640, 480), 255)
        sheet.paste(dark_on_white(images[3]), (left, top))
        return to_mnist(sheet)

    first = at(16, 16)
    for left, top in [(400, 240), (208, 32), (16, 240)]:
        np.testing.assert_allclose(at(left, top), first, atol=25)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (2, 2), (3, 700), (700, 3), (5, 5)])
def test_any_shape_with_ink_gives_a_digits_array(shape):
    picture = np.full(shape, 255, np.uint8)
    picture[0, 0] = 0
    prepared = to_mnist(Image.fromarray(picture))
    assert (prepared.dtype, prepared.shape) == (np.uint8, (28, 28))
    assert prepared.max() > 0


def refusal(path):
    with pytest.raises(InvalidImage) as caught:
        read_image(path)
    return str(caught.value)


def bomb(path):
    """A PNG of a few hundred bytes that claims to be 30,000 × 30,000 pixels."""
    header = (30_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(file, b"IHDR", header)
        PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(bytes(1000)))
        PngImagePlugin.putchunk(file, b"IEND")


def test_files_that_are_no_image_are_refused_with_their_name_and_why(tmp_path):
    text, empty, bombed, blank = (tmp_path / name for name in ("notes.txt", "empty.png", "bomb.png", "blank.png"))
    text.write_text("seven")
    empty.touch()
    bomb(bombed)
    Image.new("RGB", (50, 50), "white").save(blank)
    assert refusal(text) == f"{text}: not an image that Pillow can read"
    assert refusal(empty) == f"{empty}: not an image that Pillow can read"
    assert refusal(bombed).startswith(f"{bombed}: ")
    assert refusal(blank) == f"{blank}: blank, there is no ink on the paper"
    assert refusal(tmp_path / "no.png") == f"{tmp_path / 'no.png'}: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path}: a folder, not an image"


def test_an_image_past_the_limit_is_refused_before_its_pixels_are_read(tmp_path):
    side = int(MAX_PIXELS**0.5) + 1
    picture = Image.new("1", (side, side), 1)
    picture.putpixel((5, 5), 0)
    picture.save(tmp_path / "huge.png")
    assert refusal(tmp_path / "huge.png") == f"{tmp_path / 'huge.png'}: {side}x{side} pixels, more than 64 million"


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "webp", "bmp"])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(suffix, images, tmp_path):
    path = tmp_path / f"digit.{suffix}"
    dark_on_white(images[0]).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        damaged[rng.integers(min(len(damaged), 60))] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            assert read_image(path).shape == (28, 28)
        except InvalidImage as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > 0


def flood(mask):
    """Regions the slow and obvious way: their areas, largest first."""
    left, areas = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        front, area = [left.pop()], 0
        while front:
            row, column = front.pop()
            area += 1
            near = {(row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1)} & left
            left -= near
            front += near
        areas.append(area)
    return sorted(areas, reverse=True)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.6, 0.95])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (17, 23)])
def test_regions_are_those_that_flooding_finds(shape, share):
    mask = np.random.default_rng(1).random(shape) < share
    regions = find_regions(mask, mask.size)
    assert [region.area for region in regions] == flood(mask)
    np.testing.assert_array_equal(paint(regions, shape), mask)
    for region in regions:
        rows, columns = np.nonzero(paint([region], shape))
        box = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
        assert (region.top, region.bottom, region.left, region.right) == box


def test_a_drawing_that_needs_ghostscript_is_not_called_damaged(tmp_path, monkeypatch):
    Image.new("L", (50, 50), 255).save(tmp_path / "drawing.eps")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", False)
    with pytest.raises(InvalidImage, match=r"drawing.eps: EPS, which needs Ghostscript. Install it, or save"):
        read_image(tmp_path / "drawing.eps")
