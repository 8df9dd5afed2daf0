"""The page in a real Chromium: drawn with a mouse, a pen and a finger, by keys, with files; light, dark, on a phone."""

import io
import json

import pytest
from PIL import Image, ImageDraw

PEN = """\
160,60 115,75 90,130 90,190 115,245 160,262 205,245 230,190 230,130 205,75 160,60
125,105 165,60 165,260
95,110 110,70 160,55 210,75 220,115 195,160 140,210 90,255 235,252
100,80 150,55 205,75 210,115 185,145 145,152 195,160 225,200 210,245 160,265 100,245
120,60 90,180 235,180 | 195,90 190,265
220,60 120,60 110,145 165,130 215,155 225,205 195,250 145,262 95,245
200,60 140,100 100,170 95,220 120,258 170,265 210,235 210,195 170,170 120,185 98,215
95,75 225,70 185,150 150,265
205,85 160,55 115,80 120,125 165,155 215,195 210,245 160,268 110,245 110,195 160,155 205,125 205,85
215,110 180,150 125,145 105,105 130,65 180,58 212,85 215,125 205,195 185,262"""
HANDWRITING = [
    [[tuple(map(int, point.split(","))) for point in stroke.split()] for stroke in line.split("|")]
    for line in PEN.splitlines()
]
"""A digit's strokes by the digit: polylines as a person's, on a pad of 320×320."""
STEPS = 2
"""Movements of the pointer for each line of a stroke."""
BOXES = "h1, h2, p, canvas, label, button, #words, #bars li, #sent, table, tr, td, th, img"
BLOCKS = "h1, main h2, p, canvas, label, button, #verdict, #bars li, #sent"
CONTRASTS = """(() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const linear = value => (value /= 255) <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
  const luminance = colour => {
    const [red, green, blue] = channels(colour).map(linear);
    return .2126 * red + .7152 * green + .0722 * blue;
  };
  const under = element => {
    const colour = getComputedStyle(element).backgroundColor, [, , , alpha = 1] = channels(colour);
    return alpha ? colour : under(element.parentElement);
  };
  const holdsText = element => [...element.childNodes].some(node => node.nodeType == 3 && node.data.trim());
  const texts = [...document.querySelectorAll("body *")].filter(e => e.getClientRects().length && holdsText(e));
  return texts.map(element => {
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(under(element))];
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), element.outerHTML];
  });
})()"""
"""The contrast of each text with what is under it, as WCAG computes it."""
UNNAMED = """[...document.querySelectorAll("canvas, ol, section, img")].filter(
  e => !(e.ariaLabel || e.alt || document.getElementById(e.getAttribute("aria-labelledby")))).length"""


class Pad:
    """The page in the browser, and what a person does with it."""

    def __init__(self, chromium, rest, wait_until):
        self.chromium, self.url, self._wait_until = chromium, f"http://{rest}/", wait_until

    def open(self, width=1280, scheme="light"):
        self.chromium.open(self.url, width, scheme)
        self.until("version && rows.children.length")
        return self

    def until(self, condition):
        self._wait_until(lambda: self.chromium.evaluate(f"Boolean({condition})"))

    def read(self):
        """Wait until the page has the answer to what is on the pad, and give the digit and the words."""
        self.until("!looking")
        return self.chromium.evaluate("[digit.textContent, words.textContent]")

    def text(self, name):
        return self.chromium.evaluate(f"$('{name}').textContent")

    def ink(self):
        """Give how many pixels of the pad's drawing are not paper."""
        pixels = "pen.getImageData(0, 0, pad.width, pad.height).data"
        return self.chromium.evaluate(f"{pixels}.filter((value, index, all) => value != all[index % 4]).length")

    def place(self, x, y):
        left, top, width = self.chromium.evaluate("(b => [b.x, b.y, b.width])(pad.getBoundingClientRect())")
        return left + x * width / 320, top + y * width / 320

    def draw(self, strokes, with_a="mouse"):
        for stroke in strokes:
            points = [self.place(*point) for point in smooth(stroke)]
            (self._touch if with_a == "finger" else self._move)(points, with_a)
        return self.read()

    def _move(self, points, kind):
        self.chromium.mouse("mousePressed", *points[0], pointerType=kind)
        for point in points[1:]:
            self.chromium.mouse("mouseMoved", *point, pointerType=kind)
        self.chromium.mouse("mouseReleased", *points[-1], pointerType=kind)

    def _touch(self, points, _):
        moves = [("touchMove", point) for point in points[1:]]
        for kind, at in [("touchStart", points[0]), *moves, ("touchEnd", None)]:
            places = [{"x": at[0], "y": at[1]}] if at else []
            self.chromium("Input.dispatchTouchEvent", type=kind, touchPoints=places)

    def drop(self, path):
        x, y = self.place(100, 100)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.chromium("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)


def smooth(stroke):
    """Put points between those of a polyline, as a hand that moves does."""
    lines = zip(stroke, stroke[1:], strict=False)
    steps = [step / STEPS for step in range(1, STEPS + 1)]
    return [stroke[0], *((a + (c - a) * t, b + (d - b) * t) for (a, b), (c, d) in lines for t in steps)]


@pytest.fixture
def pad(chromium, endpoints, wait_until):
    return Pad(chromium, endpoints["REST"], wait_until)


@pytest.fixture
def picture(tmp_path):
    """A file with a digit as a phone's photo has it: grey paper, dark ink, and larger than the pad."""
    image = Image.new("RGB", (800, 600), (190, 185, 180))
    for stroke in HANDWRITING[7]:
        ImageDraw.Draw(image).line([(x + 200, y + 150) for x, y in stroke], (40, 40, 60), 20, "curve")
    image.save(tmp_path / "seven.jpg")
    return tmp_path / "seven.jpg"


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "brush"), [("light", "1"), ("dark", "2"), ("light", "3")])
def test_nine_of_ten_drawn_digits_are_read(pad, brush, scheme):
    pad.open(scheme=scheme)
    pad.chromium.press(brush)
    right = 0
    for digit, strokes in enumerate(HANDWRITING):
        pad.chromium.press("c")
        right += pad.draw(strokes)[0] == str(digit)
    assert right >= 9
    assert pad.chromium.complaints() == []


@pytest.mark.parametrize("tool", ["pen", "finger"])
def test_a_pen_and_a_finger_draw_too_also_on_a_phone(pad, tool):
    pad.open(390)
    right = 0
    for digit in (0, 2, 3, 7):
        pad.chromium.press("c")
        right += pad.draw(HANDWRITING[digit], with_a=tool)[0] == str(digit)
    assert right >= 3
    assert pad.chromium.evaluate("[scrollX, scrollY]") == [0, 0]  # the finger has drawn, not scrolled


def test_the_pad_shows_the_stroke_where_the_pointer_was(pad):
    pad.open(390)
    pad.draw([[(160, 40), (160, 280)]])
    pixel = "pen.getImageData(140, y, 1, 1).data[0]"
    assert pad.chromium.evaluate(f"Array.from({{length: 28}}, (_, n) => 10 * n).filter(y => !{pixel})") == list(
        range(30, 251, 10)
    )


def test_undo_takes_back_a_stroke_and_also_a_clearing(pad):
    pad.open().draw(HANDWRITING[4])
    both = pad.ink()
    pad.chromium.press("u")
    first = pad.ink()
    assert 0 < first < both
    pad.chromium.press("c")
    assert pad.ink() == 0
    assert pad.read() == ["", "Draw, and it is read while you draw."]
    pad.chromium.press("z", modifiers=2)
    assert pad.ink() == first
    assert pad.read()[0] != ""
    pad.chromium.evaluate("$('undo').click(), $('undo').click(), $('undo').click()")
    assert pad.ink() == 0
    assert pad.read()[0] == ""


def test_keys_choose_the_brush_and_copying_does_not_clear(pad):
    pad.open()
    inks = []
    for key in "123":
        pad.chromium.press(key)
        pad.draw([[(60, 160), (260, 160)]])
        inks.append(pad.ink())
        pad.chromium.press("c")
    assert inks == sorted(set(inks))
    pad.draw(HANDWRITING[1])
    pad.chromium.press("c", modifiers=2)
    assert pad.ink() > 0


def test_every_control_has_a_name_and_is_reached_by_tab_in_the_order_of_the_page(pad):
    pad.open()
    name = "(e => e.innerText || e.labels?.[0]?.innerText || e.firstChild?.alt)(document.activeElement).split('\\n')[0]"
    names = []
    for _ in range(25):
        pad.chromium.press("Tab")
        names.append(pad.chromium.evaluate(name))
    gallery = [f"Test digit {n % 10}" for n in range(20)]
    assert names == ["medium", "Undo", "Clear", "Open a picture", *gallery, "Send ten"]
    assert pad.chromium.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    pad.chromium.press("Enter")
    pad.until("$('sent').textContent.includes('ten digits in')")
    assert pad.chromium.evaluate(UNNAMED) == 0


@pytest.mark.parametrize("way", ["drop", "paste", "open"])
def test_a_file_is_read_and_shown_and_can_be_undone(pad, picture, way):
    pad.open()
    if way == "drop":
        pad.drop(picture)
    elif way == "paste":
        data = json.dumps(list(picture.read_bytes()))
        file = f"new File([new Uint8Array({data})], 'seven.jpg', {{type: 'image/jpeg'}})"
        event = "new ClipboardEvent('paste', {clipboardData: all, bubbles: true})"
        pad.chromium.evaluate(
            f"{{ const all = new DataTransfer(); all.items.add({file}); document.body.dispatchEvent({event}) }}"
        )
    else:
        node = pad.chromium("Runtime.evaluate", expression="$('file')")["result"]["objectId"]
        pad.chromium("DOM.setFileInputFiles", objectId=node, files=[str(picture)])
    pad.until("marks.length == 1 && $('digit').textContent")
    assert pad.read()[0] == "7"
    assert pad.ink() > 0
    pad.chromium.press("u")
    assert (pad.ink(), pad.read()[0]) == (0, "")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("large.png", "more than 16 MiB. Make the picture smaller"),
        ("notes.txt", "not a PNG or JPEG or WEBP or BMP file"),
        ("bomb.png", "10000x10000 pixels, more than 16 million"),
        ("<img src=x onerror=alert(1)>.png", "not a PNG or JPEG or WEBP or BMP file"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_line_and_what_was_drawn_stays(pad, tmp_path, name, problem):
    pad.open()
    drawn = pad.draw(HANDWRITING[1])
    path = tmp_path / name
    if name == "bomb.png":
        Image.new("1", (10_000, 10_000)).save(path)
    else:
        path.write_bytes({"large.png": bytes(50_000_000)}.get(name, b"<script>alert(1)</script>"))
    pad.drop(path)
    pad.until("problem.textContent")
    assert pad.text("problem") == f"{name}: {problem}"
    assert pad.read() == drawn
    assert pad.chromium.evaluate("problem.children.length") == 0
    pad.chromium.press("c")
    assert pad.text("problem") == ""
    assert pad.draw(HANDWRITING[1]) == drawn


def test_it_says_when_it_is_unsure(pad, tmp_path):
    pad.open()
    Image.new("L", (200, 200), 255).save(tmp_path / "blank.png")
    pad.drop(tmp_path / "blank.png")
    pad.until("marks.length")
    assert pad.read() == ["", "No digit found."]
    pad.chromium.press("c")
    one = [[(x - 90, y) for x, y in stroke] for stroke in HANDWRITING[1]]
    three = [[(x + 60, y) for x, y in stroke] for stroke in HANDWRITING[3]]
    assert pad.draw(one + three)[1].endswith("but unsure: several digits?")
    assert pad.chromium.evaluate("verdict.className") == "doubt"


def test_a_test_digit_is_seen_as_it_is(pad, mnist_test):
    pad.open()
    pad.chromium.evaluate("document.querySelectorAll('#gallery button')[3].click()")
    pad.until("marks.length && $('digit').textContent")
    data = pad.chromium.evaluate("[...$('seen').getContext('2d').getImageData(0, 0, 28, 28).data]")
    images, labels = mnist_test[0][5000:], mnist_test[1][5000:]
    assert data[::4] == images[labels == 3][0].ravel().tolist()


def test_it_follows_a_swap_and_a_restart_without_being_loaded_again(root, start, publish, chromium, wait_until):
    server = start(root)
    server.wait_for("try it: ")
    rest = server.endpoints["REST"]
    pad = Pad(chromium, rest, wait_until).open()
    assert pad.text("status").startswith("digits/1")
    drawn = pad.draw(HANDWRITING[7])
    publish(root)
    pad.until("$('status').textContent.startsWith('digits/2 ·')")
    assert pad.read() == drawn  # asked again, of the new version
    server.stop()
    pad.until("problem.textContent.startsWith('No answer from the server')")
    assert pad.text("status") == "server gone"
    start(root, "--rest-port", rest.split(":")[1])
    pad.until("$('status').textContent.startsWith('digits/2 ·') && !problem.textContent")
    assert pad.read() == drawn


def test_the_table_marks_what_is_served(pad, endpoints):
    pad.open()
    served = pad.chromium.evaluate("[...document.querySelectorAll('tr.served th')].map(e => e.textContent)")
    rows = pad.chromium.evaluate("[...rows.children].map(row => row.firstChild.textContent[0])")
    assert rows == ["A", "B"]
    assert len(served) == 1
    assert served[0] in ("A (served)", "B (served)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_overlaps_is_cut_or_pale(pad, width, scheme, tmp_path):
    pad.open(width, scheme)
    words = "['ensemble (served)', '99.86 %', '0.0522', 'Similar to LeNet including dropout at the final layers']"
    pad.chromium.evaluate(f"{words}.forEach((word, n) => $('rows').firstChild.children[n].textContent = word)")
    for state in ("empty", "drawn", "refused"):
        if state == "drawn":
            pad.draw(HANDWRITING[8])
        if state == "refused":
            (tmp_path / f"{'long name ' * 12}.txt").write_text("seven")
            pad.drop(tmp_path / f"{'long name ' * 12}.txt")
            pad.until("problem.textContent")
        assert pad.chromium.faults(BOXES, BLOCKS, 20) == [], state
        contrasts = pad.chromium.evaluate(CONTRASTS)
        assert len(contrasts) > 40
        assert [text for contrast, text in contrasts if contrast < 4.5] == [], state
    with Image.open(io.BytesIO(pad.chromium.screenshot())) as image:
        assert image.width == width
        assert image.convert("L").getpixel((1, 1)) == {"light": 255, "dark": 20}[scheme]


def test_the_page_asks_nobody_but_its_server_and_complains_of_nothing(pad):
    pad.open()
    pad.draw(HANDWRITING[5])
    pad.chromium.evaluate("$('ten').click()")
    pad.until("$('sent').textContent.includes('ten digits in')")
    asked = [url for url in pad.chromium.requested() if not url.startswith("data:")]
    assert pad.url in asked
    assert f"{pad.url}page/classify/digits" in asked
    assert [url for url in asked if not url.startswith(pad.url)] == []
    assert pad.chromium.complaints() == []


def test_what_is_drawn_while_a_file_is_on_its_way_is_what_counts(pad):
    pad.open()
    pad.chromium.evaluate("void take(new File([new Uint8Array(9_000_000)], 'slow.png'))")
    drawn = pad.draw(HANDWRITING[1])
    assert drawn == pad.read()
    assert (pad.text("problem"), pad.chromium.evaluate("marks.length")) == ("", 1)
