"""The page of ``vae-zoo explore`` in a browser, by clicks, drags, keys and uploads: what it shows is the model's."""

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

import vae_zoo
from tests.running import checkpoint
from vae_zoo import latent
from vae_zoo.checkpoints import checksum
from vae_zoo.cli import explore
from vae_zoo.data.pictures import read_pictures

pytest_plugins = ["tests.browsers", "tests.trained_runs"]
pytestmark = pytest.mark.slow
PATIENCE = 60  # seconds, on a machine that has much else to do


@contextlib.contextmanager
def serving(folder, *words):
    """The address of the page, and its process; at the end it must have told no trace of an error."""
    pytest.importorskip("gradio", reason="needs gradio")
    command = [sys.executable, "-m", "vae_zoo.cli", "explore", *words, "--no-browser"]
    with open(folder / "said.txt", "w+") as said:
        started = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            address = next((line.strip() for line in started.stdout if line.startswith("http")), None)
            assert address, (folder / "said.txt").read_text()
            yield address, started
            started.send_signal(signal.SIGINT)
            assert started.wait(20) == 130  # also while a browser has the page open
            assert "Traceback" not in (folder / "said.txt").read_text(), (folder / "said.txt").read_text()
        finally:
            started.kill()


def change_weights(path, factor, first=""):
    """Write a checkpoint anew, with the weights multiplied whose names begin so."""
    saved = torch.load(path, weights_only=True)
    weights = saved["state_dict"]
    saved["state_dict"] = {name: w * factor if name.startswith(first) else w for name, w in weights.items()}
    saved["checksum"] = checksum(saved)
    torch.save(saved, path.with_name("new"))
    os.replace(path.with_name("new"), path)


@pytest.fixture(scope="module")
def images(trained_once, tmp_path_factory):
    """The page of a model of images, which many tests look at, and the folder of the run."""
    folder = shutil.copytree(trained_once, tmp_path_factory.mktemp("served") / "runs")
    change_weights(folder / checkpoint("images"), 3, "likelihood")  # one epoch's pictures are grey all over
    with serving(folder, "images") as (address, _):
        yield address, folder


@pytest.fixture
def page(images, browser):
    browser.set_window_size(1300, 1200)
    browser.get(images[0])
    return Page(browser)


def wait_for(found):
    """What a function finds in the page, which it may have to be asked for several times."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(WebDriverException, IndexError):
            if answer := found():
                return answer
        assert time.monotonic() < end, "the page does not come to show it"
        time.sleep(0.1)


class Page:
    """A browser tab with the page in it."""

    def __init__(self, browser):
        self.browser = browser
        wait_for(lambda: self.all("[role=tab]"))
        self.settle()

    def settle(self):
        """Wait until nothing is on its way."""
        wait_for(
            lambda: self.all("#picture img, #walk-0 img, #sketches img, #runs-table table") or self.all("[role=tab]")
        )
        time.sleep(1.5)

    def all(self, css):
        from selenium.webdriver.common.by import By

        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return wait_for(lambda: [each for each in self.all(css) if each.is_displayed()])[0]

    def tab(self, name):
        """Go to a tab, through the menu of those for which there is no room if need be."""

        def go():
            there = [each for each in self.all(f'[role=tab][data-tab-id="{name.lower()}"]') if each.is_displayed()]
            if not there:
                [each for each in self.all(".overflow-menu > button") if each.is_displayed()][0].click()
                there = [each for each in self.all(".overflow-dropdown button") if each.text.strip() == name]
            there[0].click()
            return True

        wait_for(go)
        time.sleep(0.5)

    def source(self, css, place=0):
        return wait_for(lambda: self.all(f"{css} img")[place].get_attribute("src"))

    def pixels(self, css, place=0):
        """A picture that the page shows, (H, W, C) bytes."""
        content = base64.b64decode(self.source(css, place).partition("base64,")[2])
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    def changed(self, css, act, place=0):
        """The pixels after something was done that changes them."""
        before = self.source(css, place)
        act()
        wait_for(lambda: self.source(css, place) != before)
        time.sleep(0.7)  # the last of several changes
        return self.pixels(css, place)

    def values(self, css):
        return [float(each.get_attribute("value")) for each in self.all(f"{css} input[type=number]")]

    def drag(self, css, by):
        """Drag a slider's thumb by so many pixels, in steps."""
        from selenium.webdriver.common.action_chains import ActionChains

        slider = self.one(f"{css} input[type=range]")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
        low, high, value = (float(slider.get_attribute(name)) for name in ("min", "max", "value"))
        at = int((slider.rect["width"] - 16) * ((value - low) / (high - low) - 0.5))
        chain = ActionChains(self.browser).move_to_element_with_offset(slider, at, 0).click_and_hold()
        for _ in range(5):
            chain.move_by_offset(by // 5, 0)
        chain.release().perform()

    def type(self, css, text):
        from selenium.webdriver.common.keys import Keys

        field = self.one(f"{css} input[type=number]")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text, Keys.ENTER)

    def text(self, css):
        """What stands below the picture."""
        return wait_for(lambda: self.all(f"{css} figcaption")[0].get_attribute("textContent"))

    def drop(self, path):
        """Put a file where one is dropped, in place of a test picture."""
        if not self.all("#drop input[type=file]"):
            self.one("#own button").click()
        wait_for(lambda: self.all("#drop input[type=file]"))[0].send_keys(str(path))

    def said(self):
        return " ".join(each.text for each in self.all(".zoo-said") if each.is_displayed())

    def hosts(self):
        """The hosts that anything was asked of since this was called last."""
        asked = set()
        for line in self.browser.get_log("performance"):
            event = json.loads(line["message"])["message"]
            if event["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                url = event["params"]["request"]["url"] if "request" in event["params"] else event["params"]["url"]
                asked |= {urlsplit(url).hostname} if not url.startswith(("data:", "blob:")) else set()
        return asked - {None}


def shown(x):
    """A picture (1, C, H, W) as a file has it, (H, W, 3) bytes."""
    pixels = x[0].mul(255).add(0.5).clamp(0, 255).byte().permute(1, 2, 0)
    return pixels.expand(-1, -1, 3).numpy()


def session_of(folder, *names):
    options = SimpleNamespace(trust=[], allow_nonfinite=False, seed=0)
    return explore.session([folder / checkpoint(name) for name in names], None, options)


def one_of(folder, name):
    (explored,) = session_of(folder, name).models
    return explored


def numbers_of(folder, name):
    """Which numbers of a code have sliders, by what tells most of the test pictures."""
    explored = one_of(folder, name)
    x, y = next(explored.data.batches("test", 256))
    torch.manual_seed(0)  # a flow's KL is estimated by draws
    told, _ = latent.informative(explored.model, [(x, y if explored.model.labels else None)])
    return told.argsort(descending=True, stable=True)[:10].tolist()


def test_a_dragged_slider_decodes_what_the_model_decodes(images, page):
    explored = one_of(images[1], "images")
    model = explored.model
    z = model.encode(next(explored.data.batches("test", 1))[0])
    numbers = numbers_of(images[1], "images")
    page.tab("Walk")
    assert np.array_equal(page.pixels("#walk-0"), shown(model.decode(z)))  # it begins as the picture
    before = page.values("[id^=walk-0-]")
    assert len(before) == len(numbers)
    found = page.changed("#walk-0", lambda: page.drag("#walk-0-0", 60))
    after = page.values("[id^=walk-0-]")
    assert after[0] > before[0] and after[1:] == before[1:]
    moved = z.clone()
    moved[:, numbers[0]] = after[0]
    assert np.array_equal(found, shown(model.decode(moved)))
    # A second one, by the keyboard.
    from selenium.webdriver.common.keys import Keys

    slider = page.one("#walk-0-1 input[type=range]")
    found = page.changed("#walk-0", lambda: slider.send_keys(*[Keys.ARROW_RIGHT] * 20))
    moved[:, numbers[1]] = page.values("[id^=walk-0-]")[1]
    assert np.array_equal(found, shown(model.decode(moved)))
    # Back to the picture, and to the prior's middle.
    found = page.changed("#walk-0", lambda: page.one("#as-picture").click())
    assert np.array_equal(found, shown(model.decode(z)))
    found = page.changed("#walk-0", lambda: page.one("#reset").click())
    assert np.array_equal(found, shown(model.decode(torch.zeros_like(z))))


def test_draws_of_the_prior_follow_seed_and_temperature(images, page):
    model = one_of(images[1], "images").model
    torch.manual_seed(7)
    z = model.sample_prior(1)
    page.tab("Walk")
    found = page.changed("#walk-0", lambda: page.type("#seed", "7"))
    assert np.array_equal(found, shown(model.decode(z)))
    assert page.text("#walk-0") == "draw, seed 7"
    found = page.changed("#walk-0", lambda: page.type("#temperature", "0.5"))
    assert np.array_equal(found, shown(model.decode(0.5 * z)))


def test_a_temperature_replaces_no_code_that_was_edited_or_is_a_pictures(images, page):
    explored = one_of(images[1], "images")
    model, z = explored.model, explored.model.encode(next(explored.data.batches("test", 1))[0])
    numbers = numbers_of(images[1], "images")
    page.tab("Walk")
    assert page.text("#walk-0") == "code of test picture 0"
    page.type("#temperature", "0.5")
    time.sleep(2)
    assert np.array_equal(page.pixels("#walk-0"), shown(model.decode(z))) and "code of" in page.text("#walk-0")
    torch.manual_seed(7)
    drawn = 0.5 * model.sample_prior(1)
    page.changed("#walk-0", lambda: page.type("#seed", "7"))
    found = page.changed("#walk-0", lambda: page.drag("#walk-0-1", 40))
    drawn[:, numbers[1]] = page.values("[id^=walk-0-]")[1]
    page.type("#temperature", "1.5")
    time.sleep(2)
    assert page.text("#walk-0") == "draw, seed 7, edited" and np.array_equal(page.pixels("#walk-0"), found)
    assert np.array_equal(found, shown(model.decode(drawn)))


def test_a_picture_that_is_dropped_is_reconstructed(images, page, tmp_path):
    explored = one_of(images[1], "images")
    model, (x, _) = explored.model, next(explored.data.batches("test", 2))
    assert np.array_equal(page.pixels("#reconstruction", 0), shown(x[:1]))
    assert np.array_equal(page.pixels("#reconstruction", 1), shown(model.reconstruct(x[:1])))
    found = page.changed("#reconstruction", lambda: page.type("#number", "1"), 1)
    assert np.array_equal(found, shown(model.reconstruct(x[1:])))
    error = float((model.reconstruct(x[1:]) - x[1:]).square().mean())
    wait_for(lambda: f"{error:.3g}" in page.one("#figures").text)
    torch.manual_seed(0)
    assert f"{float(model.log_prob(x[1:], samples=100)):.1f}" in page.one("#figures").text

    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).resize((280, 200), Image.Resampling.BICUBIC).save(path)
    found = page.changed("#reconstruction", lambda: page.drop(path), 1)
    own, _ = read_pictures(path, model.hparams["shape"])
    assert np.array_equal(found, shown(model.reconstruct(own)))


def test_the_errors_of_two_models_are_on_one_scale(trained_once, tmp_path, browser):
    folder = shutil.copytree(trained_once, tmp_path / "runs")
    shutil.copytree(folder / "images", folder / "worse")
    change_weights(folder / checkpoint("worse"), 9, "likelihood")
    with serving(folder, "images", "worse") as (address, _):
        browser.get(address)
        page = Page(browser)
        models = [explored.model for explored in session_of(folder, "images", "worse").models]
        x, _ = next(one_of(folder, "images").data.batches("test", 1))
        made = [model.reconstruct(x) for model in models]
        top = max(latent.heat_top(x, x_hat) for x_hat in made)
        for place, x_hat in enumerate(made):
            heat = latent.heat_map(x, x_hat, top)
            assert np.array_equal(page.pixels("#reconstruction", 4 * place + 3), shown(heat)), place
        assert page.one("#reconstruction").text.count(f"yellow: {top:.2g} or more") == 2


def test_a_bad_upload_is_told_and_the_page_goes_on(page, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture" * 30)
    before = page.source("#reconstruction", 1)
    page.drop(broken)
    wait_for(lambda: "is not a picture that can be read" in page.said())
    assert page.source("#reconstruction", 1) == before
    page.changed("#reconstruction", lambda: page.type("#number", "2"), 1)
    assert "is not a picture" not in page.said()
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    page.all("#drop input[type=file]")[0].send_keys(str(text))
    wait_for(lambda: "Invalid file type" in text_of(page))


def test_a_number_beyond_a_sliders_end_is_told(page):
    page.tab("Walk")
    before = page.source("#walk-0")
    field = page.one("#walk-0-0 input[type=number]")
    page.browser.execute_script(  # as while it is typed: the page puts it to the end as soon as the field is left
        "arguments[0].value = 999; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))", field
    )
    wait_for(lambda: "of the code must be a number from" in page.said() and "got 999" in page.said())
    assert page.source("#walk-0") == before
    page.changed("#walk-0", lambda: page.one("#reset").click())
    assert "got 999" not in page.said()


def text_of(page):
    return page.browser.execute_script("return document.body.innerText")


def test_the_way_between_two_pictures(images, page):
    explored = one_of(images[1], "images")
    model, (x, _) = explored.model, next(explored.data.batches("test", 4))
    a, b = model.encode(x[:1]), model.encode(x[3:])
    page.tab("Between")
    page.changed("#strip", lambda: page.type("#to", "3"), 10)
    way = latent.between(model, a, b, 9)[:, 0]
    for place, picture in enumerate([x[0], *model.decode(way), x[3]]):  # the pictures at the ends of their path
        assert np.array_equal(page.pixels("#strip", place), shown(picture[None])), place
    page.changed("#strip", lambda: page.type("#number", "2"), 0)  # it begins at the bar's picture
    a = model.encode(x[2:3])
    for place, picture in enumerate([x[2], *model.decode(latent.between(model, a, b, 9)[:, 0]), x[3]]):
        assert np.array_equal(page.pixels("#strip", place), shown(picture[None])), place
    found = page.changed("#between-shown", lambda: page.drag("#how-far", 100))
    (t,) = page.values("#how-far")
    assert t > 0.5
    z = latent.between(model, a, b, 101)[round(t * 100)]
    assert np.array_equal(found, shown(model.decode(z)))
    page.type("#to", "99")
    wait_for(lambda: "has test pictures 0 to 19, no 99" in page.said())


def test_an_attribute_of_pictures_in_boxes(images, page, tmp_path):
    explored = one_of(images[1], "images")
    model, (x, _) = explored.model, next(explored.data.batches("test", 1))
    paths = []
    for number in range(7):
        paths.append(tmp_path / f"{number}.png")
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    page.tab("Arithmetic")
    page.one("#make").click()
    wait_for(lambda: "put 3 or more into each box" in page.said())
    page.all("#with input[type=file]")[0].send_keys("\n".join(map(str, paths[:3])))
    page.all("#without input[type=file]")[0].send_keys("\n".join(map(str, paths[3:])))
    wait_for(lambda: len(page.all("#without .file, #without tr.file")) >= 4)
    page.one("#make").click()
    codes = [model.encode(read_pictures(group, model.hparams["shape"])[0]) for group in (paths[:3], paths[3:])]
    vector, z = codes[0].mean(0) - codes[1].mean(0), model.encode(x)
    assert np.array_equal(page.pixels("#changed", 1), shown(model.decode(z + vector)))
    found = page.changed("#changed", lambda: page.type("#strength", "-2"), 1)
    assert np.array_equal(found, shown(model.decode(z - 2 * vector)))
    z = model.encode(next(explored.data.batches("test", 2))[0][1:])
    found = page.changed("#changed", lambda: page.type("#number", "1"), 1)  # it is the bar's picture that is changed
    assert np.array_equal(found, shown(model.decode(z - 2 * vector)))


def test_a_bad_file_in_a_box_is_named_and_the_others_count(images, page, tmp_path):
    explored = one_of(images[1], "images")
    model, (x, _) = explored.model, next(explored.data.batches("test", 1))
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    paths[1].write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture" * 30)
    page.tab("Arithmetic")
    page.all("#with input[type=file]")[0].send_keys("\n".join(map(str, paths[:4])))
    page.all("#without input[type=file]")[0].send_keys("\n".join(map(str, paths[4:])))
    wait_for(lambda: len(page.all("#with .file, #with tr.file")) >= 4)
    page.one("#make").click()
    wait_for(lambda: "picture 2 of the box 'with' is not a picture that can be read" in page.said())
    groups = [paths[:1] + paths[2:4], paths[4:]]
    codes = [model.encode(read_pictures(group, model.hparams["shape"])[0]) for group in groups]
    vector = codes[0].mean(0) - codes[1].mean(0)
    assert np.array_equal(page.pixels("#changed", 1), shown(model.decode(model.encode(x) + vector)))


def test_a_click_on_the_map_shows_a_picture_or_decodes_a_place(images, page):
    from selenium.webdriver.common.action_chains import ActionChains

    explored = one_of(images[1], "images")
    page.tab("Map")  # which draws it
    area = page.one(".zoo-map")
    points = json.loads(area.get_attribute("data-points"))
    assert sorted(number for _, _, number, _ in points) == list(range(20))
    wait_for(lambda: page.one(".zoo-plot").rect["height"] > 100)
    width, height = (page.one(".zoo-plot").rect[name] for name in ("width", "height"))
    # The dot that is farthest from all others, so that it is surely the one that is meant.
    places = np.array([point[:2] for point in points]) * [width, height]
    lonely = np.argmax(np.sort(np.linalg.norm(places[:, None] - places, axis=-1))[:, 1])
    x, y, number, _ = points[lonely]

    page.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", page.one(".zoo-plot"))

    def at(x, y):
        return ActionChains(page.browser).move_to_element_with_offset(
            page.one(".zoo-plot"), round((x - 0.5) * width), round((y - 0.5) * height)
        )

    at(x, y).perform()
    wait_for(lambda: str(number) in page.one(".zoo-tip").text)
    at(x, y).click().perform()
    wait_for(lambda: page.values("#number") == [number])
    mark = page.one(".zoo-mark").rect
    plot = page.one(".zoo-plot").rect
    assert mark["x"] + mark["width"] / 2 - plot["x"] == pytest.approx(x * width, abs=2)
    at(0.85, 0.2).click().perform()
    caption = page.one("#map-decoded-0 figcaption").text
    place = np.array([[float(word) for word in caption.removeprefix("decoded at ").split(", ")]])
    x, _ = next(explored.data.batches("test", 20))
    codes = explored.model.encode(x).numpy()
    corners = place + 0.005 * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])  # of what the caption rounds to the place
    z = torch.from_numpy(latent.lifted(latent.project(codes), corners, codes))
    made = np.stack([shown(picture[None]) for picture in explored.model.decode(z)]).astype(int)
    found = page.pixels("#map-decoded-0").astype(int)
    assert (made.min(0) - 1 <= found).all() and (found <= made.max(0) + 1).all()
    page.tab("Reconstruct")
    assert np.array_equal(page.pixels("#reconstruction", 0), shown(x[number][None]))
    page.tab("Walk")  # which follows the bar, as the click on the place did not move it
    assert page.text("#walk-0") == f"code of test picture {number}"
    assert np.array_equal(page.pixels("#walk-0"), shown(explored.model.reconstruct(x[number][None])))


def test_two_browser_tabs_do_not_disturb_each_other(images, page):
    explored = one_of(images[1], "images")
    model, (x, _) = explored.model, next(explored.data.batches("test", 6))
    numbers = numbers_of(images[1], "images")
    first = page.browser.current_window_handle
    page.changed("#reconstruction", lambda: page.type("#number", "4"), 1)
    page.tab("Walk")
    wait_for(lambda: page.text("#walk-0") == "code of test picture 4")
    page.browser.switch_to.new_window("tab")
    page.browser.get(images[0])
    other = Page(page.browser)
    other.changed("#reconstruction", lambda: other.type("#number", "5"), 1)
    other.tab("Walk")
    wait_for(lambda: other.text("#walk-0") == "code of test picture 5")
    second = page.browser.current_window_handle
    for window, number in ((first, 4), (second, 5), (first, 4)):
        page.browser.switch_to.window(window)
        z = model.encode(x[number][None])
        page.one("#as-picture").click()
        time.sleep(1)
        found = page.changed("#walk-0", lambda: page.drag("#walk-0-2", 40))
        z[:, numbers[2]] = page.values("[id^=walk-0-]")[2]
        assert np.array_equal(found, shown(model.decode(z))), number
        assert page.values("#number") == [number]


def test_nothing_is_asked_of_another_host(images, page):
    for name in ("Walk", "Between", "Arithmetic", "Map", "Runs", "Reconstruct"):
        page.tab(name)
    page.tab("Map")
    page.one("#draw-map").click()
    page.one(".zoo-plot")
    assert page.hosts() == {"127.0.0.1"}
    logged = [line["message"] for line in page.browser.get_log("browser") if line["level"] == "SEVERE"]
    assert not logged


def test_on_a_phone_and_in_the_dark(images, browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    browser.get(f"{images[0]}?__theme=dark")
    page = Page(browser)
    for name in ("Reconstruct", "Walk", "Between", "Arithmetic", "Map", "Runs"):
        page.tab(name)
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, name
    colour = browser.execute_script(
        "return getComputedStyle(document.querySelector('.gradio-container')).backgroundColor"
    )
    assert max(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) < 60
    assert all(image.get_attribute("alt") for image in page.all("figure img"))


def test_the_runs_of_a_folder(trained_once, tmp_path, browser):
    folder = shutil.copytree(trained_once, tmp_path / "runs")
    shutil.rmtree(folder / "images" / "checkpoints")
    (folder / "report.html").write_text("<script>document.title = 'the report'</script>")
    for name in ("sketches", "sketch_samples", "labelled"):
        os.utime(folder / checkpoint(name), (1e9, 1e9))
    with serving(tmp_path, "runs") as (address, _):
        browser.get(address)
        page = Page(browser)
        page.tab("Runs")
        rows = wait_for(lambda: [each.text for each in page.all("#runs-table tbody th[scope=row]")])
        assert rows == ["images", "labelled", "samples", "sketch_samples", "sketches"]
        assert "it is not finished, or was not tested" in page.one("#runs-table").text
        assert page.all("#curves svg")
        picture = np.asarray(Image.open(folder / "images" / "images" / "reconstructions_0001.png").convert("RGB"))
        assert page.pixels("#wall").shape == picture.shape
        (folder / "images" / "config.yaml").write_text("{")  # a run that is damaged meanwhile
        page.one("#look-again").click()
        wait_for(lambda: "config.yaml" in page.one("#runs-table").text)
        shutil.rmtree(folder / "samples")  # and one that vanishes
        page.one("#look-again").click()
        wait_for(lambda: len(page.all("#runs-table tbody th[scope=row]")) == 4)
        page.one('a[href="report.html"]').click()
        browser.switch_to.window(browser.window_handles[-1])
        wait_for(lambda: browser.title == "the report")
        assert browser.execute_script("return origin") == "null"  # it has no way to the page's server


def test_a_model_that_is_trained_meanwhile_and_one_that_vanishes(trained_once, tmp_path, browser):
    folder = shutil.copytree(trained_once, tmp_path / "runs")
    path = folder / checkpoint("images")
    model = vae_zoo.load(path)
    with serving(folder, "images") as (address, _):
        browser.get(address)
        page = Page(browser)
        page.tab("Walk")
        zeros = torch.zeros(1, *model.code_shape)
        page.changed("#walk-0", lambda: page.one("#reset").click())
        change_weights(path, 0.7)
        model = vae_zoo.load(path)
        found = page.changed("#walk-0", lambda: page.one("#reset").click())
        assert np.array_equal(found, shown(model.decode(zeros)))
        path.write_bytes(path.read_bytes()[:5000])
        wait_for(lambda: "was changed and cannot be used; the model is the one before" in page.said())
        shutil.rmtree(folder / "images")
        wait_for(lambda: "is no longer there; the model is the last one that was read" in page.said())
        found = page.changed("#walk-0", lambda: page.drag("#walk-0-0", 50))  # it goes on
        assert found.shape == (32, 32, 3)


def test_several_models_of_different_kinds(trained_once, tmp_path, browser):
    from selenium.webdriver.common.action_chains import ActionChains

    folder = shutil.copytree(trained_once, tmp_path / "runs")
    names = ("labelled", "samples", "sketches", "sketch_samples")
    with serving(folder, *names) as (address, _):
        browser.set_window_size(1300, 1200)
        browser.get(address)
        page = Page(browser)
        assert "trained on different data" in page.said()
        labelled, samples, *_ = session_of(folder, *names).models
        model, (x, y) = labelled.model, next(labelled.data.batches("test", 1))

        page.tab("Label")
        made = latent.relabel(model, x, y)[0]
        for label in range(model.labels):
            assert np.array_equal(page.pixels("#relabelled", 1 + label), shown(made[label][None]))

        page.tab("Reconstruct")
        assert np.array_equal(page.pixels("#reconstruction", 1), shown(model.reconstruct(x, y)))

        page.tab("Walk")
        assert np.array_equal(page.pixels("#walk-0"), shown(model.reconstruct(x, y)))
        z = samples.model.icdf(torch.full((1, *samples.model.code_shape), 0.5))
        page.changed("#walk-1", lambda: page.one("#reset").click())
        assert np.array_equal(page.pixels("#walk-1"), shown(samples.model.decode(z)))
        found = page.changed("#walk-1", lambda: page.drag("#walk-1-3", 30))
        z[:, 3] = page.values("#walk-1-3")[0]
        assert np.array_equal(found, shown(samples.model.decode(z)))

        page.tab("Sketch")
        page.type("#number", "3")
        wait_for(lambda: "test sketch 3;" in page.one("#sketches").text)
        before = page.source("#sketches")
        canvas = page.one("#pad canvas")
        line = ActionChains(browser).move_to_element_with_offset(canvas, -60, -40).click_and_hold()
        line.move_by_offset(60, 10).move_by_offset(40, 60).release().perform()
        wait_for(lambda: page.source("#sketches") != before)
        wait_for(lambda: "the drawing" in page.one("#sketches").text and "drawn again" in page.one("#sketches").text)
        assert "ending 6" in page.one("#sketches").text and "the drawing; orange" in page.one("#sketches").text
        drawing = base64.b64decode(page.source("#sketches").partition("base64,")[2]).decode()
        assert "#d55e00" in drawing  # what was drawn is the beginning
        page.all("#pad button[data-do=clear]")[0].click()
        wait_for(lambda: "test sketch 3;" in page.one("#sketches").text)  # that of the bar
