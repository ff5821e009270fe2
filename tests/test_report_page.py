"""The report's page in a browser: sorting, columns, the slider over epochs, pictures, light and dark."""

import re
from urllib.parse import quote

import pytest

from tests.run_folders import compared
from vae_zoo.compare.report import write_report

pytest_plugins = ["tests.browsers"]


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    write_report(compared(tmp_path))
    browser.get(f"file://{quote(str(tmp_path / 'report.html'))}")

    def find(css):
        return browser.find_elements(By.CSS_SELECTOR, css)

    def models():
        return [cell.text for cell in find(".figures tbody th")]

    # Sorting by MSE with the keyboard alone, both ways; what has no figure stands last both ways.
    mse = find(".figures thead button")[1]
    mse.send_keys(Keys.ENTER)
    assert models() == ["Floor", "Sharp", "Slow", "Base", "Flow"]
    assert find(".figures thead th[scope=col]")[1].get_attribute("aria-sort") == "ascending"
    mse.send_keys(Keys.SPACE)
    assert models() == ["Flow", "Base", "Slow", "Sharp", "Floor"]
    mse.send_keys(Keys.ENTER)  # the two that have no NLL stand first
    nll = next(button for button in find(".figures thead button") if "NLL" in button.text)
    for _ in range(2):
        nll.send_keys(Keys.ENTER)
        assert set(models()[-2:]) == {"Floor", "Sharp"}
        assert len(find(".figures thead [aria-sort]")) == 1

    # The table fits a screen of 1,400 pixels; the other figures are behind a button, which the keyboard reaches.
    def columns():
        return [head.text for head in find(".figures thead th[scope=col]") if head.is_displayed()]

    def resize(width, height, scheme="light", media="screen"):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    resize(1400, 900)
    (table,), few = find(".scroll:has(.figures)"), columns()
    assert browser.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", table)
    titles = ["model", "MSE", "NLL, nats", "KL, nats", "s / epoch", "peak memory, MB"]
    assert {" ".join(title.split("\n")) for title in few} > {*titles} and len(few) < 19
    (button,) = find("button.more")
    for expected in (19, len(few), 19):
        button.send_keys(Keys.ENTER)
        assert len(columns()) == expected
        spans = [int(head.get_attribute("colspan")) for head in find("tr.about th") if head.is_displayed()]
        assert sum(spans) == expected - 1  # each figure stands below what it is about

    # A slider over epochs, which the keyboard moves; in print all columns and all epochs are shown.
    def shown():
        return [frame.get_attribute("data-epochs") for frame in find(".wall .frame") if frame.is_displayed()]

    button.send_keys(Keys.ENTER)
    slider = find(".wall input[type=range]")[0]
    assert shown() == ["after 6 epochs"] * 2  # of reconstructions and samples
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown() == ["after 5 epochs", "after 6 epochs"]
    slider.send_keys(Keys.HOME)
    assert shown()[0] == slider.get_attribute("aria-valuetext") == "before training"
    resize(1400, 900, media="print")
    assert len(columns()) == 19 and len(shown()) == 6 and not slider.is_displayed()
    resize(1400, 900)
    slider.send_keys(Keys.END)
    (image,) = [image for image in find(".wall img") if image.is_displayed()][:1]
    assert image.size["width"] > 3 * int(image.get_attribute("naturalWidth"))  # of pixels too small to see

    # A picture is enlarged by Enter, and the dialog closed by Escape.
    tile = image.find_element(By.XPATH, "..")
    width = tile.size["width"]
    tile.send_keys(Keys.ENTER)
    (dialog,) = find("dialog[open]")
    large = dialog.find_element(By.TAG_NAME, "img")
    assert large.size["width"] > width and "reconstructions after 6 epochs" in large.get_attribute("alt")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not find("dialog[open]")

    assert (
        browser.execute_script(
            "const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.length - new Set(ids).size"
        )
        == 0
    )
    assert not find("main style")  # a chart's would be the page's
    # Each picture and chart has a text; each table a caption or header; the page names its language.
    assert all(image.get_attribute("alt") for image in find("main img")) and find("html[lang]")
    assert all(svg.get_attribute("aria-label") for svg in find("main svg[role=img]")) and len(find("main svg")) == 3
    assert all(find_in.find_elements(By.CSS_SELECTOR, "th[scope=col]") for find_in in find("table"))

    # On a phone nothing but the tables scrolls sideways; dark follows the system's choice.
    for size, scheme, dark in (((360, 800), "light", False), ((1600, 900), "dark", True)):
        resize(*size, scheme)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
        paper, ink = (
            [int(v) for v in re.findall(r"\d+", browser.execute_script(f"return getComputedStyle({where}).{what}"))][:3]
            for where, what in (
                ("document.body", "backgroundColor"),
                ("document.querySelector('figure svg text')", "fill"),
            )
        )
        assert (sum(paper) < 200 < 500 < sum(ink)) if dark else (sum(ink) < 200 < 500 < sum(paper))
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
