"""Models from elsewhere: from a web server, and from and to the Hub, as servers on this machine play them."""

import base64
import functools
import hashlib
import http.server
import json
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.parse

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

pytest_plugins = ["tests.trained_runs"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "vae"
    model = small(VAE).eval()
    export(model, folder)
    return model, folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vae_zoo"


def serving(handler):
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
def web(whole, certificate, tmp_path, monkeypatch):
    """A web server with an exported folder, and its address, with a certificate that is trusted here."""
    shutil.copytree(whole[1], tmp_path / "site" / "models" / "vae")
    Server.asked, Server.breaks, Server.answers, Server.ranges = [], {}, {}, []
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    server = serving(functools.partial(Server, directory=str(tmp_path / "site")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield f"https://127.0.0.1:{server.server_port}/models/vae"
    server.shutdown()


def test_a_model_comes_from_an_address_and_its_weights_only_once(web, whole, cache):
    model = vae_zoo.load(web)
    assert same(model, whole[0]) and model.source == web
    assert Server.asked == ["/models/vae/config.json", "/models/vae/model.safetensors"]
    Server.asked.clear()
    assert same(vae_zoo.load(f"{web}/"), whole[0])
    assert Server.asked == ["/models/vae/config.json"]  # which is looked at anew, so that no old model is taken
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 2


def test_a_new_version_at_an_address_is_found(web, whole, tmp_path):
    vae_zoo.load(web)
    other = small(VAE).eval()
    shutil.rmtree(tmp_path / "site" / "models" / "vae")
    export(other, tmp_path / "site" / "models" / "vae")
    assert same(vae_zoo.load(web), other) and not same(vae_zoo.load(web), whole[0])


def test_a_command_takes_an_address(web, tmp_path, capsys):
    assert call("sample", "--ckpt_path", web, "--out", tmp_path / "x.png", "--n", 4) == 0
    assert f"using {web}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda site: (site / "config.json").unlink(), "config.json cannot be fetched .*404"),
        (lambda site: (site / "model.safetensors").unlink(), "model.safetensors cannot be fetched .*404"),
        (
            lambda site: (site / "config.json").write_text("<html>"),
            "config.json cannot be fetched .what came is damaged",
        ),
        (lambda site: (site / "config.json").write_bytes(b" " * 2**21), "more than the 1048576 bytes that such a file"),
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


def test_what_is_here_wins(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download", lambda *_: pytest.fail("asked the Hub"))
    shutil.copytree(whole[1], tmp_path / "me" / "model")
    shutil.copytree(whole[1], tmp_path / "me" / "model@v1")
    for name in ("me/model", "me/model@v1"):
        assert same(vae_zoo.load(name), whole[0]) and vae_zoo.load(name).source is None
    for name in ("me/other.ckpt", "me/other/deeper/model", "model", "/me/other"):
        with pytest.raises(UserError, match=f"{name}: there is no such checkpoint file"):
            vae_zoo.load(name)
    with pytest.raises(UserError, match="revision='main' is for a model on the Hub, user/name, which me/model is not"):
        vae_zoo.load("me/model", revision="main")


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as its client asks for; `models` has by name the commits, each with its files."""

    models: dict = {}
    refs: dict = {}
    asked: list = []
    status: int | None = None  # of all answers
    mode: str = "regular"
    protocol_version = "HTTP/1.1"

    def answer(self, status=200, content=b"", **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(content), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        if self.status:
            return self.answer(self.status, {"error": "no"}, X_Error_Message="no")
        parts = path.strip("/").split("/")
        match parts:
            case ["api", "models", user, model, *rest] if self.command == "GET":
                name, revision = f"{user}/{model}", rest[1] if rest else "main"
                commit = self.refs.get((name, revision), revision)
                if name not in self.models:
                    return self.answer(404, {"error": "no"}, X_Error_Code="RepoNotFound")
                if commit not in self.models[name]:
                    return self.answer(404, {"error": "no"}, X_Error_Code="RevisionNotFound")
                files = self.models[name][commit]
                siblings = [{"rfilename": file, "size": len(files[file]), "blobId": "0"} for file in files]
                return self.answer(200, {"id": name, "modelId": name, "sha": commit, "siblings": siblings})
            case [user, model, "resolve", commit, file]:
                content = self.models[f"{user}/{model}"][commit][file]
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                return self.answer(200, content, ETag=etag, X_Repo_Commit=commit, Accept_Ranges="none")
            case ["api", "repos", "create"]:
                wanted = json.loads(body)
                name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
                type(self).made = wanted
                if name in self.models:
                    return self.answer(409, {"error": "there", "url": f"{self.endpoint}/{name}"})
                self.models[name] = {}
                return self.answer(200, {"url": f"{self.endpoint}/{name}", "name": name})
            case ["api", "models", user, model, "preupload", _]:
                files = [
                    {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for each in json.loads(body)["files"]
                ]
                return self.answer(200, {"files": files})
            case ["api", "models", user, model, "commit", _]:
                name, files = f"{user}/{model}", {}
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                commit = hashlib.sha1(body).hexdigest()
                self.models[name][commit] = {**self.models[name].get(self.refs.get((name, "main")), {}), **files}
                self.refs[(name, "main")] = commit
                url = f"{self.endpoint}/{name}/commit/{commit}"
                return self.answer(200, {"commitUrl": url, "commitOid": commit, "hookOutput": "", "success": True})
            case ["api", "validate-yaml"]:
                return self.answer(200, {"errors": [], "warnings": []})
        return self.answer(404, {"error": path})

    do_POST = do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A Hub on this machine, which the client asks instead of the real one."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    Hub.models, Hub.refs, Hub.asked, Hub.status, Hub.made = {}, {}, [], None, None
    server = serving(Hub)
    Hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(hub, "_api", lambda: huggingface_hub.HfApi(endpoint=Hub.endpoint, token="hf_test"))
    yield Hub
    server.shutdown()


def published(folder, name="me/model", commit="a" * 40, **more):
    """Put a folder onto the fake Hub."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()} | more
    Hub.models.setdefault(name, {})[commit] = files
    Hub.refs[(name, "main")] = commit
    return commit


EVIL = b"\x80\x04cos\nsystem\n(S'touch executed'\ntR."


def test_a_name_is_loaded_from_one_commit_and_no_pickle_is_fetched(fake, whole, cache):
    commit = published(whole[1], **{"pytorch_model.bin": EVIL, "evil.pkl": EVIL, "last.ckpt": EVIL})
    model = vae_zoo.load("me/model")
    assert same(model, whole[0]) and model.source == f"me/model@{commit}"
    fetched = {line.split("/")[-1] for line in fake.asked if "resolve" in line}
    assert fetched == {"config.json", "model.safetensors"} and all("/resolve/main" not in line for line in fake.asked)
    kept = {path.name for path in (cache / "hub" / "me--model" / commit).iterdir() if path.is_file()}
    assert kept == {"config.json", "model.safetensors"}


def test_a_revision_stays_what_it_is(fake, whole, tmp_path):
    first = published(whole[1])
    export(second := small(VAE).eval(), tmp_path / "second")
    published(tmp_path / "second", commit="b" * 40)
    fake.refs[("me/model", "v1.0")] = first
    assert same(vae_zoo.load("me/model"), second)
    for given in ({"path": f"me/model@{first}"}, {"path": "me/model@v1.0"}, {"path": "me/model", "revision": "v1.0"}):
        model = vae_zoo.load(**given)
        assert same(model, whole[0]) and model.source == f"me/model@{first}"
    fake.asked.clear()
    vae_zoo.load(f"me/model@{first}")
    assert fake.asked == []  # a commit that is here needs no network
    with pytest.raises(UserError, match="names a revision, and revision='main' is another way to say it; give one"):
        vae_zoo.load("me/model@v1.0", revision="main")


def test_a_command_takes_a_name(fake, whole, tmp_path, capsys):
    commit = published(whole[1])
    assert call("sample", "--ckpt_path", "me/model", "--out", tmp_path / "x.png", "--n", 4) == 0
    assert f"using me/model@{commit}" in capsys.readouterr().err
    assert call("probe", "--ckpt_path", "me/model") == 1
    assert "is not in a run folder with a config.yaml; a probe needs its data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "status, said",
    [
        (401, "me/model cannot be read: there is no such model on the Hub, or it is not yours to see; log in with"),
        (403, "me/model cannot be read: you have no right to do that; log in with"),
        (404, "me/model cannot be read: there is no such model or revision on the Hub, nor a file or folder me/model"),
        (418, "me/model cannot be read: .*418"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(fake, status, said):
    fake.status = status
    with pytest.raises(UserError, match=said) as told:
        vae_zoo.load("me/model")
    assert "\n" not in str(told.value)


def test_what_is_not_on_the_hub_is_told(fake, whole):
    with pytest.raises(UserError, match="me/nothing cannot be read: there is no such model or revision on the Hub"):
        vae_zoo.load("me/nothing")
    published(whole[1])
    with pytest.raises(UserError, match="me/model@v9 cannot be read: there is no such model or revision on the Hub"):
        vae_zoo.load("me/model@v9")
    for file in ("config.json", "model.safetensors"):
        fake.models["me/model"]["a" * 40].pop(file)
        with pytest.raises(UserError, match=f"me/model on the Hub has no {file}, so it is no model that vae-zoo push"):
            vae_zoo.load("me/model")
        published(whole[1])


def test_what_is_too_large_is_not_fetched(fake, whole, monkeypatch):
    published(whole[1])
    monkeypatch.setattr(hub, "LARGEST_WEIGHTS", 1000)
    with pytest.raises(
        UserError, match="me/model: its model.safetensors has .* bytes, more than the 1000 that are read"
    ):
        vae_zoo.load("me/model")
    assert not [line for line in fake.asked if "resolve" in line]


def test_what_is_on_the_hub_is_not_trusted(fake, whole, tmp_path):
    folder = shutil.copytree(whole[1], tmp_path / "evil")
    rewrite(folder, lambda config: config.update(class_path="os.system"))
    published(folder)
    with pytest.raises(UserError, match="names os.system, which a file that was only found may not load"):
        vae_zoo.load("me/model")
    published(whole[1], commit="../../../../evil")
    with pytest.raises(UserError, match="the Hub names no commit, but '../../../../evil'"):
        vae_zoo.load("me/model")


def test_no_network_is_one_sentence(fake, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "_api", lambda: huggingface_hub.HfApi(endpoint="http://127.0.0.1:9", token="hf_test"))
    with pytest.raises(UserError, match="me/model cannot be read: the Hub cannot be reached; is there a network"):
        vae_zoo.load("me/model")


def test_without_the_package_the_command_that_installs_it_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert call("sample", "--ckpt_path", "me/model") == 1
    assert "there is no module huggingface_hub; pip install huggingface-hub" in capsys.readouterr().err


@pytest.mark.slow
def test_push_and_load(fake, run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    assert call("push", "me/trained", "--private", "--license", "mit") == 0
    said = capsys.readouterr().out
    commit = fake.refs[("me/trained", "main")]
    assert fake.made.get("private") is True or fake.made.get("visibility") == "private"  # as versions call it
    assert f"pushed to {fake.endpoint}/me/trained" in said and f'vae_zoo.load("me/trained@{commit}")' in said
    files = fake.models["me/trained"][commit]
    assert {"README.md", "config.json", "model.safetensors", "samples.png"} <= set(files)
    assert not [name for name in files if name.endswith((".ckpt", ".pt2", ".yaml"))]
    assert b"license: mit" in files["README.md"] and b"vae_zoo.load('me/trained')" in files["README.md"]
    trained = vae_zoo.load(run / "checkpoints" / "last.ckpt")
    assert same(vae_zoo.load("me/trained"), trained)
    snippet = files["README.md"].decode().partition("```python\n")[2].partition("```")[0]
    found: dict = {}
    exec(snippet, found)
    assert same(found["model"], trained)


@pytest.mark.slow
def test_a_folder_is_pushed_with_the_card_that_it_has(fake, whole, tmp_path, capsys):
    folder = shutil.copytree(whole[1], tmp_path / "mine")
    (folder / "README.md").write_text("my own words")
    for name in ("secret.txt", "encoder.pt2", "last.ckpt"):
        (folder / name).write_text("secret")
    assert call("push", "me/mine", "--ckpt_path", folder) == 0
    files = fake.models["me/mine"][fake.refs[("me/mine", "main")]]
    assert set(files) == {"README.md", "config.json", "model.safetensors"} and files["README.md"] == b"my own words"
    assert call("push", "me/mine", "--ckpt_path", folder, "--license", "mit") == 1
    assert "--license mit: the card of" in capsys.readouterr().err
    for name in ("mine", "me/mine@main", "a/b/c"):
        assert call("push", name, "--ckpt_path", folder) == 1
        assert f"{name}: a model on the Hub is called user/name" in capsys.readouterr().err
    fake.status = 403
    assert call("push", "me/mine", "--ckpt_path", folder) == 1
    assert "me/mine cannot be written: you have no right to do that; log in with" in capsys.readouterr().err


def test_find_tells_what_is_nowhere(tmp_path):
    assert find(tmp_path / "x") == (tmp_path / "x", None)
