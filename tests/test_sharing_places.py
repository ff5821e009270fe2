"""Models from a web server, which one on this machine plays, and what is here."""

import functools
import http.server
import shutil
import ssl
import subprocess
import threading

import pytest

import vae_zoo
from tests.conftest import call
from tests.test_checkpoints import same
from tests.test_download import Server, endless, sends
from tests.test_sharing import rewrite
from tests.zoo import small
from vae_zoo import fetch
from vae_zoo.errors import UserError
from vae_zoo.models import VAE
from vae_zoo.sharing import export, find, hub, places

pytest_plugins = ["tests.trained_runs", "tests.exported_models"]
pytestmark = pytest.mark.usefixtures("own_cache")


def serving(handler):
    """A server on this machine that is running."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    options = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(["openssl", *options.split(), *files], check=True, capture_output=True)
    return folder


@pytest.fixture
def web(exported_vae, certificate, tmp_path, monkeypatch):
    """A web server with an exported folder, and its address, with a certificate that is trusted here."""
    shutil.copytree(exported_vae[1], tmp_path / "site" / "models" / "vae")
    Server.asked, Server.breaks, Server.answers, Server.ranges = [], {}, {}, []
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    server = serving(functools.partial(Server, directory=str(tmp_path / "site")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield f"https://127.0.0.1:{server.server_port}/models/vae"
    server.shutdown()


def test_a_model_comes_from_an_address_and_its_weights_only_once(web, exported_vae, own_cache):
    model = vae_zoo.load(web)
    assert same(model, exported_vae[0]) and model.source == web
    assert Server.asked == ["/models/vae/config.json", "/models/vae/model.safetensors"]
    Server.asked.clear()
    assert same(vae_zoo.load(f"{web}/"), exported_vae[0])
    assert Server.asked == ["/models/vae/config.json"]  # which is looked at anew, so that no old model is taken
    assert len([path for path in own_cache.rglob("*") if path.is_file()]) == 2


def test_a_new_version_at_an_address_is_found(web, exported_vae, tmp_path):
    vae_zoo.load(web)
    other = small(VAE).eval()
    shutil.rmtree(tmp_path / "site" / "models" / "vae")
    export(other, tmp_path / "site" / "models" / "vae")
    assert same(vae_zoo.load(web), other) and not same(vae_zoo.load(web), exported_vae[0])


def test_a_command_takes_an_address(web, tmp_path, capsys):
    assert call("sample", "--ckpt_path", web, "--out", tmp_path / "x.png", "--n", 4) == 0
    assert f"using {web}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda site: (site / "config.json").unlink(), "config.json cannot be fetched .*404"),
        (lambda site: (site / "model.safetensors").unlink(), "model.safetensors cannot be fetched .*404"),
        (
            lambda site: (site / "config.json").write_text("<html>"),
            "config.json cannot be fetched .what came is damaged",
        ),
        (lambda site: (site / "config.json").write_bytes(b" " * 2**23), "more than the 4194304 bytes that such a file"),
        (lambda site: (site / "model.safetensors").write_bytes(b"other"), "model.safetensors cannot be fetched .what"),
        (lambda site: rewrite(site, lambda c: c.update(class_path="os.system")), "names os.system"),
    ],
)
def test_what_cannot_be_had_from_an_address_is_one_sentence(web, tmp_path, change, said):
    change(tmp_path / "site" / "models" / "vae")
    with pytest.raises(UserError, match=said) as told:
        vae_zoo.load(web)
    assert "\n" not in str(told.value)


def test_a_body_without_an_end_has_one(web, monkeypatch):
    monkeypatch.setattr(places, "LARGEST_WEIGHTS", 2**20)
    Server.answers["/models/vae/model.safetensors"] = sends(endless())
    with pytest.raises(UserError, match="has more than the 1048576 bytes that such a file may have"):
        vae_zoo.load(web)


def test_a_server_that_nobody_vouches_for_is_not_believed(web, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UserError, match="cannot be fetched .*CERTIFICATE_VERIFY_FAILED"):
        vae_zoo.load(web)
    assert Server.asked == []


@pytest.mark.parametrize("address", ["http://127.0.0.1/vae", "ftp://127.0.0.1/vae", "file:///etc/vae", "HTTP://x/y"])
def test_other_protocols_are_refused(address):
    with pytest.raises(UserError, match="a model is fetched by https:// alone"):
        vae_zoo.load(address)


@pytest.mark.parametrize("address", ["https://x.org/vae?a=1", "https://x.org/vae#a", "https://"])
def test_an_address_is_that_of_a_folder(address):
    with pytest.raises(
        UserError, match="give the address of a folder that has config.json and model.safetensors in it"
    ):
        vae_zoo.load(address)


def test_what_is_here_wins(exported_vae, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download", lambda *_: pytest.fail("asked the Hub"))
    shutil.copytree(exported_vae[1], tmp_path / "me" / "model")
    shutil.copytree(exported_vae[1], tmp_path / "me" / "model@v1")
    for name in ("me/model", "me/model@v1"):
        assert same(vae_zoo.load(name), exported_vae[0]) and vae_zoo.load(name).source is None
    for name in ("me/other.ckpt", "me/other/deeper/model", "model", "/me/other"):
        with pytest.raises(UserError, match=f"{name}: there is no such checkpoint file"):
            vae_zoo.load(name)
    with pytest.raises(UserError, match="revision='main' is for a model on the Hub, user/name, which me/model is not"):
        vae_zoo.load("me/model", revision="main")


def test_find_tells_what_is_nowhere(tmp_path):
    assert find(tmp_path / "x") == (tmp_path / "x", None)
