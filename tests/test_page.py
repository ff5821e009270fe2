"""The page of `vae-zoo explore --html`: what a browser computes from it is what the model decodes."""

import re
import shutil
import time
from functools import partial
from urllib.parse import quote

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent

import vae_zoo
from tests.conftest import call
from tests.running import checkpoint
from tests.zoo import batch, models_that, small
from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import trained_labels
from vae_zoo.distributions import Bernoulli, DiscretisedLogistic, GaussianMixture, Likelihood, Prior
from vae_zoo.errors import UserError
from vae_zoo.latent import between, informative
from vae_zoo.models import CVAE, DCGAN, VAE, Autoencoder
from vae_zoo.networks import ConvDecoder, MLPDecoder, Network
from vae_zoo.page.page import LARGEST, write_page
from vae_zoo.page.taking import take_apart

pytest_plugins = ["tests.browsers", "tests.trained_runs"]


def shaken(model, seed=0):
    """A model with weights at random, of a size at which pictures have contrast, and statistics that are no unit's."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            noise = torch.randn(value.shape, generator=generator)
            if name == "running_var":
                value.data = noise.exp()
            elif name == "weight" and value.ndim > 1:
                inputs = value[:, 0].numel() / 4 if isinstance(module, nn.ConvTranspose2d) else value[0].numel()
                value.data = 1.6 * noise / max(inputs, 1) ** 0.5
            elif name in ("weight", "bias", "running_mean"):
                value.data = noise / 2 + (name == "weight")
    return model.eval()


def open_page(browser, path):
    browser.get(f"file://{quote(str(path))}")
    settle(browser)


def complaints(browser):
    """What the browser found wrong since it was last asked."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def settle(browser):
    """Wait until everything is drawn."""
    limit = time.monotonic() + 60
    while browser.execute_script("return waiting.size"):
        assert time.monotonic() < limit, "the page does not come to an end"
        time.sleep(0.02)


def decoded(browser, z, label=0):
    """What the page decodes a code to."""
    code = z.flatten().tolist()
    return torch.tensor(browser.execute_script("return Array.from(decode(...arguments))", code, label))


def drawn(browser, canvas, shape):
    """The picture on a canvas, in [0, 1]."""
    pixels = browser.execute_script(
        "const c = document.getElementById(arguments[0]);"
        "return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)",
        canvas,
    )
    image = torch.tensor(pixels).view(*shape[1:], 4)[..., :3].permute(2, 0, 1) / 255
    return image[: shape[0]]


def difference(browser, model, n=4):
    """The largest difference of a pixel between page and model, of codes at random under all kinds of labels."""
    torch.manual_seed(1)
    found, pictures = 0.0, []
    for i in range(n):
        y = torch.tensor([i % model.labels]) if model.labels else None
        z = model.sample_prior(1, y)
        truth = model.decode(z, y)[0].flatten()
        found = max(found, float((decoded(browser, z[0], 0 if y is None else int(y)) - truth).abs().max()))
        pictures.append(truth)
    assert torch.stack(pictures).std(0).max() > 0.05  # else any code would do
    return found


# ---- what a browser computes


@pytest.mark.slow
@models_that(pixels=True)
def test_a_browser_decodes_as_the_model_does(cls, browser, tmp_path):
    model = shaken(small(cls))
    x, y = batch(model, 12)
    with_images = isinstance(model, Autoencoder)
    found = write_page(model, tmp_path / "a b.html", "it", *(x, y) if with_images else ())
    assert found["difference"] < 1e-3
    open_page(browser, tmp_path / "a b.html")
    assert difference(browser, model) < 1e-3
    buttons = browser.find_elements("css selector", "#pictures button")
    assert len(buttons) == (8 if with_images else 0)
    for number, button in enumerate(buttons[::3]):
        button.click()
        settle(browser)
        row = [*np.linspace(0, 11, 8).astype(int)][3 * number]
        truth = model.reconstruct(x[row : row + 1], y[row : row + 1])[0]
        assert (drawn(browser, "picture", truth.shape) - truth).abs().max() <= 0.5 / 255 + 1e-3
    assert complaints(browser) == []


class Film(Network):
    """A decoder of all kinds of layers, modulated by a part of what it is given."""

    def __init__(self, features, shape):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(features, 96), nn.BatchNorm1d(96), nn.ELU(inplace=True), nn.Linear(96, 96))
        self.again = nn.BatchNorm2d(6)
        self.modulation = nn.Linear(features, 24)
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(12, 12, 3, padding=2, dilation=2), nn.Conv2d(12, 12, (3, 1), padding="same")]
        )
        self.norms = nn.ModuleList([nn.GroupNorm(3, 12), nn.InstanceNorm2d(12, affine=True), nn.LayerNorm([12, 4, 4])])
        self.batch = nn.BatchNorm2d(12)
        self.up = nn.Upsample(scale_factor=2)
        self.transposed = nn.ConvTranspose2d(12, 20, 3, 2, 1, output_padding=1, bias=False)
        self.last = nn.Conv2d(5, shape[0], 3, padding=1)

    def forward(self, z):
        x = self.again(self.first(z).unflatten(1, (6, 4, 4)))  # a view between a normalisation and the weights before
        x = torch.cat([x, x.transpose(2, 3)], 1)
        scale, shift = self.modulation(z)[..., None, None].chunk(2, 1)
        x = self.norms[2](self.convolutions[0](x)) * (1 + scale) - shift
        x = nn.functional.leaky_relu(self.norms[0](x), 0.1) / 2
        x = self.norms[1](self.up(self.convolutions[1](x))).relu()  # 12 8 8
        x = x + self.batch(x) * x[:, :1].expand_as(x).tanh().exp()
        x = nn.functional.pixel_shuffle(nn.functional.softplus(self.transposed(x)), 2)  # 5 32 32
        return self.last(x[:, :, 8:24, ::2].permute(0, 1, 3, 2)) * 2 + (1 - x[:, :1, 8:24, ::2])


def film(cls, **changes):
    return shaken(small(cls, decoder=Film, **changes))


def test_layers_of_many_kinds_are_taken_apart():
    model = film(CVAE)
    layers = take_apart(model)
    torch.manual_seed(2)
    for label in (0, 3):
        z, y = model.sample_prior(1), torch.tensor([label])
        truth = model.decode(z, y)[0]
        assert truth.std() > 0.05
        torch.testing.assert_close(layers(z, label), truth, atol=3e-5, rtol=0)
        assert 0 < (layers.rounded()(z, label) - truth).abs().max() < 1e-3
    ops = [layer["op"] for layer in layers.layers]
    assert ops.count("conv2d") == 3 and {"take", "cat", "normalise", "conv_transpose2d"} <= {*ops}


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        partial(film, CVAE),
        partial(film, VAE, likelihood=DiscretisedLogistic),
        lambda: shaken(small(VAE, likelihood=Checked)),
        lambda: shaken(small(CVAE, learned_prior=True, likelihood=Bernoulli)),
        lambda: shaken(
            VAE(shape=(1, 20, 12), latent=2, encoder=small_mlp_encoder, decoder=partial(MLPDecoder, width=30))
        ),
    ],
)
def test_other_decoders_in_a_browser(model, browser, tmp_path):
    model = model()
    write_page(model, tmp_path / "it.html", "it")
    open_page(browser, tmp_path / "it.html")
    assert difference(browser, model) < 1e-3


class Checked(Likelihood):
    """Its distribution looks at its arguments, as PyTorch's do unless they are told not to."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def distribution(self, out):
        return Independent(torch.distributions.Uniform(out.sigmoid() / 2, (3 + out.tanh()) / 4), 3)


def small_mlp_encoder(shape, features):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], features))


@pytest.mark.slow
def test_decoders_of_full_size_in_a_browser(browser, tmp_path):
    for cls in (VAE, DCGAN, CVAE):
        model = shaken(cls())
        write_page(model, tmp_path / f"{cls.__name__}.html", "it")
        open_page(browser, tmp_path / f"{cls.__name__}.html")
        assert difference(browser, model, 2) < 1e-3


# ---- what one can do with it


@pytest.mark.slow
def test_the_page_in_use(browser, tmp_path):
    model = shaken(small(CVAE, learned_prior=True))
    torch.manual_seed(0)
    model.prior.embedding.weight.data = torch.randn(10, 10)
    x, y = batch(model, 20)
    path = tmp_path / "it.html"
    write_page(model, path, "it", x, y, [f"kind {i}" for i in range(10)], pictures=3, sliders=4)
    open_page(browser, path)
    told, _ = informative(model, [(x, y)])
    heads = [row.text for row in browser.find_elements("css selector", ".slider b")]
    assert heads == [f"dimension {d}" for d in told.argsort(descending=True)[:4]]
    assert f"KL {told.max():#.3g} nats" in browser.find_element("css selector", ".slider").text

    def codes():
        return torch.tensor(browser.execute_script("return code"))

    def shown_label():
        return browser.execute_script("return label")

    # A picture brings its label; a slider that the arrow keys move changes its dimension and no other.
    browser.find_elements("css selector", "#pictures button")[1].click()
    torch.testing.assert_close(codes(), model.encode(x[9:10], y[9:10])[0], atol=1e-6, rtol=0)
    assert shown_label() == 9 and browser.find_element("id", "label").get_property("value") == "9"
    assert not browser.find_element("id", "original").get_property("hidden")
    before = codes()
    browser.find_element("css selector", ".slider input").send_keys("\ue014")  # the right arrow
    changed = codes() - before
    top = int(told.argmax())
    assert changed[top] > 0 and changed.count_nonzero() == 1
    settle(browser)
    truth = model.decode(codes()[None], torch.tensor([9]))[0]
    assert (drawn(browser, "picture", truth.shape) - truth).abs().max() <= 0.5 / 255 + 1e-3
    # The middle is the mean of the label's prior, and the label can be chosen by the keyboard.
    browser.find_element("id", "label").send_keys("kind 3")
    assert shown_label() == 3
    browser.find_element("id", "middle").click()
    torch.testing.assert_close(codes(), model.prior(torch.tensor([3])).mean[0], atol=1e-6, rtol=0)
    # Draws are those of the label's prior: mean and deviation of many, by five standard errors.
    many = torch.tensor(browser.execute_script("return Array.from({ length: 4000 }, (_, i) => draw(i + 1))"))
    prior = model.prior(torch.tensor([3]))
    mean, sigma = prior.mean[0], prior.stddev[0]
    assert ((many.mean(0) - mean) / sigma).abs().max() < 5 / 4000**0.5
    assert (many.std(0) / sigma - 1).abs().max() < 5 / 8000**0.5
    # Between: what torch has on the great circle; one end is then replaced by the code that is shown.
    a, b = (model.encode(x[i : i + 1], y[i : i + 1]) for i in (0, 9))
    truth = between(model, a, b, 5, y=torch.tensor([3]))[1, 0]
    browser.execute_script("const w = find('way'); w.value = 25; w.dispatchEvent(new Event('input'))")
    torch.testing.assert_close(torch.tensor(browser.execute_script("return way()")), truth, atol=1e-6, rtol=0)
    browser.find_element("id", "keep_a").click()
    kept = torch.tensor(browser.execute_script("return endOf(find('a'))"))
    torch.testing.assert_close(kept, codes())
    settle(browser)
    truth = model.decode(between(model, codes()[None], b, 5)[1], torch.tensor([3]))[0]
    assert (drawn(browser, "on_way", truth.shape) - truth).abs().max() <= 0.5 / 255 + 1e-3
    # Samples: a seed says which; one is shown above by a click.
    first = browser.execute_script("return sample(5)")
    browser.find_element("id", "next").click()
    assert browser.execute_script("return sample(5)") != first
    seed = browser.find_element("id", "seed")
    seed.clear()
    seed.send_keys("0")
    assert browser.execute_script("return sample(5)") == first
    browser.find_elements("css selector", "#samples button")[5].click()
    torch.testing.assert_close(codes(), torch.tensor(first))
    # Nothing is wider than a phone, and dark follows the system.
    for width in (400, 1400):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.find_element("id", "picture").size["width"] >= (256 if width > 500 else 170)
    for scheme, dark in (("light", False), ("dark", True)):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == dark
    assert complaints(browser) == []


class Exponential(Prior):
    def __init__(self, latent, shape=(), posterior=None):
        super().__init__()
        self.register_buffer("rate", torch.ones(latent))

    def forward(self, y=None):
        return Independent(torch.distributions.Exponential(self.rate), 1)


@pytest.mark.slow
def test_draws_of_other_priors(browser, tmp_path):
    noise = small(DCGAN)
    mixture = small(VAE, prior=partial(GaussianMixture, components=5, radius=4.0, sigma=0.1))
    other = small(VAE, prior=Exponential)
    for name, model in (("noise", noise), ("mixture", mixture), ("other", other)):
        write_page(shaken(model), tmp_path / f"{name}.html", name)
    open_page(browser, tmp_path / "noise.html")
    draws = np.array(browser.execute_script("return Array.from({ length: 4000 }, (_, i) => draw(i + 1))"))
    assert np.abs(draws).max() <= 1 and np.abs(draws.mean(0)).max() < 5 / 12000**0.5
    assert np.abs(draws.var(0) - 1 / 3).max() < 0.03
    open_page(browser, tmp_path / "mixture.html")
    draws = np.array(browser.execute_script("return Array.from({ length: 4000 }, (_, i) => draw(i + 1))"))
    radius, angle = np.hypot(*draws.T[:2]), np.arctan2(*draws.T[1::-1]) / (2 * np.pi / 5)
    assert np.abs(radius - 4).max() < 0.5 and np.abs(angle - angle.round()).max() < 0.15
    shares = np.bincount(angle.round().astype(int) % 5) / 4000
    assert np.abs(shares - 0.2).max() < 5 * 0.4 / 4000**0.5
    assert np.abs(draws.std(0)[2:] - 1).max() < 0.06
    open_page(browser, tmp_path / "other.html")  # which the page cannot draw from: some of 256 draws
    draws = np.array(browser.execute_script("return Array.from({ length: 2000 }, (_, i) => draw(i + 1))"))
    assert 240 < len(np.unique(draws, axis=0)) <= 256 and draws.min() > 0 and np.abs(draws.mean(0) - 1).max() < 5 / 16


@pytest.mark.slow
def test_a_code_of_two_numbers_has_a_field(browser, tmp_path):
    model = shaken(small(VAE, latent=2))
    write_page(model, tmp_path / "it.html", "it")
    open_page(browser, tmp_path / "it.html")
    pad = browser.find_element("id", "pad")
    low, high = (torch.tensor(browser.execute_script(f"return data.{end}")) for end in ("low", "high"))
    torch.testing.assert_close(high, torch.full((2,), 3.0902), atol=1e-3, rtol=0)  # the normal's quantile at 99.9 %
    tile = model.decode(torch.stack([low[0] + (high - low)[0] * 0.5 / 9, low[1] + (high - low)[1] * 8.5 / 9])[None])[0]
    size = 9 * tile.shape[1]
    assert (drawn(browser, "space", (3, size, size))[:, :16, :16] - tile).abs().max() <= 0.5 / 255 + 1e-3
    browser.execute_script(
        "const box = arguments[0].getBoundingClientRect(), at = { clientX: box.left + box.width / 4,"
        "clientY: box.top + box.height / 4 }; drag(at)",
        pad,
    )
    torch.testing.assert_close(
        torch.tensor(browser.execute_script("return code")),
        torch.lerp(low, high, torch.tensor([0.25, 0.75])),
        atol=1e-2,
        rtol=0,
    )
    before = browser.execute_script("return code")
    pad.send_keys("\ue013")  # the up arrow
    after = browser.execute_script("return code")
    assert after[0] == before[0] and after[1] > before[1]


HOSTILE = [
    "</script><script>window.taken = 1</script>",
    "\"><img src=x onerror='taken = 1'>",
    "{{ 7 * 7 }}",
    "\u2028`${1}",
]


@pytest.mark.slow
def test_names_are_no_code_and_nothing_is_asked_of_a_network(browser, tmp_path):
    model = shaken(small(CVAE, labels=4))
    x, y = torch.rand(4, 3, 16, 16), torch.arange(4)
    path = tmp_path / "it.html"
    write_page(model, path, HOSTILE[0] + HOSTILE[1], x, y, HOSTILE)
    open_page(browser, path)
    options = browser.find_elements("css selector", "#label option")
    assert [option.get_property("textContent") for option in options] == HOSTILE
    assert browser.title == browser.find_element("tag name", "h1").text == HOSTILE[0] + HOSTILE[1]
    assert browser.execute_script("return window.taken ?? null") is None
    assert complaints(browser) == []  # not even one that the policy stopped
    # No address but those of pictures inside; a script of somebody else's has no way out either.
    html = path.read_text()
    assert "://" not in re.sub(r"data:image/png;base64,[\w+/=]+", "", html.split('id="weights"')[0])
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    asked = "const done = arguments[0]; fetch('http://127.0.0.1:9').then(() => done('let out'), () => done('stopped'))"
    assert browser.execute_async_script(asked) == "stopped"
    assert any("Content Security Policy" in message for message in complaints(browser))


# ---- what there is no page of


class Gelu(ConvDecoder):
    def __init__(self, features, shape):
        super().__init__(features, shape, 4, 2)
        self.append(nn.GELU())


class Grouped(ConvDecoder):
    def __init__(self, features, shape):
        super().__init__(features, shape, 4, 2)
        self.append(nn.Conv2d(3, 3, 3, padding=1, groups=3))


class Deciding(ConvDecoder):
    def __init__(self, features, shape):
        super().__init__(features, shape, 4, 2)

    def forward(self, z):
        return super().forward(z if z.sum() > 0 else -z)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"decoder": Gelu},
            r"VAE's decoder computes gelu, which the page does not; it knows linear, conv2d, .*softplus",
        ),
        ({"decoder": Grouped}, "VAE's decoder computes conv2d with 3 groups, which the page does not"),
        ({"decoder": Deciding}, "VAE: torch.export cannot follow its decode: .*data-dependent"),
        ({"shape": (2, 16, 16)}, "VAE makes images of 2 channels, and the page shows those of 1 or 3"),
        (
            {"decoder": partial(MLPDecoder, width=2900)},
            "VAE's decoder has 21.4 MB of weights, and the page is for at most 16 MB; train a narrower decoder",
        ),
    ],
)
def test_decoders_that_the_page_cannot_have(changes, message, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)  # torch.compile switches it off
    assert LARGEST == 16_000_000
    with pytest.raises(UserError, match=message):
        write_page(small(VAE, **changes).eval(), tmp_path / "it.html", "it")
    assert not [*tmp_path.iterdir()] and capfd.readouterr().err == ""
    with pytest.raises(ValueError, match="Expected parameter"):
        torch.distributions.Normal(0.0, -1.0)  # checked as before


def test_weights_of_16_bits_are_not_taken_where_they_show(tmp_path):
    """Enormous weights of a channel that is always 0 leave no bits to the others in their rows."""
    model = small(VAE).eval()
    first, second = model.likelihood.decoder[0], model.likelihood.decoder[3]
    with torch.no_grad():
        first.weight[:16], first.bias[:16] = 0, 0  # one channel of 4 x 4, and SiLU(0) = 0
    assert write_page(model, tmp_path / "it.html", "it")["bits"] == 16
    with torch.no_grad():
        second.weight[0] = 1e4
    found = write_page(model, tmp_path / "it.html", "it")
    assert found["bits"] == 32 and found["difference"] < 1e-6
    with torch.no_grad():
        second.weight[1, 1, 1, 1] = float("inf")
    with pytest.raises(UserError, match="decodes to pixels that are nan from its own, so there is no page"):
        write_page(model, tmp_path / "other.html", "it")
    assert [path.name for path in tmp_path.iterdir()] == ["it.html"]


# ---- the command


@pytest.mark.slow
def test_the_command(runs, browser, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    for name in ("images", "labelled", "samples"):
        assert call("explore", name, "--html", f"{name}.html") == 0
        said = capsys.readouterr().out
        assert re.search(
            rf"wrote {name}.html, 0\.\d MB with weights of 16 bits, which change no pixel by more than", said
        )
        open_page(browser, runs / f"{name}.html")
        model = vae_zoo.load(checkpoint(name))
        assert browser.title == f"{type(model).__name__}, {name}"
        z = model.sample_prior(1, torch.zeros(1, dtype=torch.int64) if model.labels else None)
        y = torch.zeros(1, dtype=torch.int64) if model.labels else None
        assert (decoded(browser, z) - model.decode(z, y).flatten()).abs().max() < 1e-3
        assert len(browser.find_elements("css selector", "#pictures button")) == (0 if name == "samples" else 8)
        names = [option.text for option in browser.find_elements("css selector", "#label option")]
        assert names == (trained_labels(read(checkpoint(name))) if name == "labelled" else [])
    # Without the run's data there are no pictures, which is told.
    shutil.move("images/checkpoints/last.ckpt", "alone.ckpt")
    assert call("explore", "alone.ckpt", "--html", "alone.html", "--sliders", 3) == 0
    assert "alone.ckpt is not in a run folder" in capsys.readouterr().out
    open_page(browser, runs / "alone.html")
    assert [row.text for row in browser.find_elements("css selector", ".slider b")] == [
        f"dimension {d}" for d in range(3)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, message",
    [
        (["sketch_samples"], "{} has no codes, so it cannot be explored"),
        (["sketches"], "{} makes sketches, and the page draws pixels; vae-zoo interpolate --out way.svg shows some"),
        (["samples", "--images", "."], "{} has no encoder, so there is nothing to do with --images"),
        (["images", "--label", "0"], "--label 0: {} takes no labels"),
        (["labelled", "--images", "."], "{} needs the label of what it encodes or decodes; give it with --label"),
        (["images", "--sliders", "0"], "sliders must be at least 1, got 0"),
        (["images", "--pictures", "-1"], "pictures must be at least 0, got -1"),
        (["nowhere"], "nowhere: there is no such run folder, folder of runs or checkpoint"),
        (["images", "samples"], "--html is of one model, and these are 2; name one RUN"),
        (["images", "--html", "it.png"], "--html it.png: it ends in .html"),
        (["images", "--html", "mine.html"], "mine.html is there, without the mark of a file that vae-zoo wrote"),
    ],
)
def test_what_the_command_refuses(words, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    (runs / "mine.html").write_text("<p>mine")
    assert call("explore", "--html", "it.html", *words) == 1
    name = type(vae_zoo.load(checkpoint(words[0]))).__name__ if words[0] != "nowhere" else ""
    assert message.format(name) in capsys.readouterr().err
    assert not (runs / "it.html").exists() and (runs / "mine.html").read_text() == "<p>mine"
