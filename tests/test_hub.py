"""Models from and to the Hugging Face Hub, which a server on this machine plays."""

import base64
import hashlib
import http.server
import json
import shutil
import sys
import urllib.parse

import pytest

import vae_zoo
from tests.conftest import call
from tests.test_checkpoints import same
from tests.test_sharing import rewrite
from tests.test_sharing_places import serving
from tests.zoo import small
from vae_zoo.errors import UserError
from vae_zoo.models import VAE
from vae_zoo.sharing import export, hub

pytest_plugins = ["tests.trained_runs", "tests.exported_models"]
pytestmark = pytest.mark.usefixtures("own_cache")


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


def test_a_name_is_loaded_from_one_commit_and_no_pickle_is_fetched(fake, exported_vae, own_cache):
    commit = published(exported_vae[1], **{"pytorch_model.bin": EVIL, "evil.pkl": EVIL, "last.ckpt": EVIL})
    model = vae_zoo.load("me/model")
    assert same(model, exported_vae[0]) and model.source == f"me/model@{commit}"
    fetched = {line.split("/")[-1] for line in fake.asked if "resolve" in line}
    assert fetched == {"config.json", "model.safetensors"} and all("/resolve/main" not in line for line in fake.asked)
    kept = {path.name for path in (own_cache / "hub" / "me--model" / commit).iterdir() if path.is_file()}
    assert kept == {"config.json", "model.safetensors"}


def test_a_revision_stays_what_it_is(fake, exported_vae, tmp_path):
    first = published(exported_vae[1])
    export(second := small(VAE).eval(), tmp_path / "second")
    published(tmp_path / "second", commit="b" * 40)
    fake.refs[("me/model", "v1.0")] = first
    assert same(vae_zoo.load("me/model"), second)
    for given in ({"path": f"me/model@{first}"}, {"path": "me/model@v1.0"}, {"path": "me/model", "revision": "v1.0"}):
        model = vae_zoo.load(**given)
        assert same(model, exported_vae[0]) and model.source == f"me/model@{first}"
    fake.asked.clear()
    vae_zoo.load(f"me/model@{first}")
    assert fake.asked == []  # a commit that is here needs no network
    with pytest.raises(UserError, match="names a revision, and revision='main' is another way to say it; give one"):
        vae_zoo.load("me/model@v1.0", revision="main")


def test_a_command_takes_a_name(fake, exported_vae, tmp_path, capsys):
    commit = published(exported_vae[1])
    assert call("sample", "--ckpt_path", "me/model", "--out", tmp_path / "x.png", "--n", 4) == 0
    assert f"using me/model@{commit}" in capsys.readouterr().out
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


def test_what_is_not_on_the_hub_is_told(fake, exported_vae):
    with pytest.raises(UserError, match="me/nothing cannot be read: there is no such model or revision on the Hub"):
        vae_zoo.load("me/nothing")
    published(exported_vae[1])
    with pytest.raises(UserError, match="me/model@v9 cannot be read: there is no such model or revision on the Hub"):
        vae_zoo.load("me/model@v9")
    for file in ("config.json", "model.safetensors"):
        fake.models["me/model"]["a" * 40].pop(file)
        with pytest.raises(UserError, match=f"me/model on the Hub has no {file}, so it is no model that vae-zoo push"):
            vae_zoo.load("me/model")
        published(exported_vae[1])


def test_what_is_too_large_is_not_fetched(fake, exported_vae, monkeypatch):
    published(exported_vae[1])
    monkeypatch.setattr(hub, "LARGEST_WEIGHTS", 1000)
    with pytest.raises(
        UserError, match="me/model: its model.safetensors has .* bytes, more than the 1000 that are read"
    ):
        vae_zoo.load("me/model")
    assert not [line for line in fake.asked if "resolve" in line]


def test_what_is_on_the_hub_is_not_trusted(fake, exported_vae, tmp_path):
    folder = shutil.copytree(exported_vae[1], tmp_path / "evil")
    rewrite(folder, lambda config: config.update(class_path="os.system"))
    published(folder)
    with pytest.raises(UserError, match="names os.system, which a file that was only found may not load"):
        vae_zoo.load("me/model")
    published(exported_vae[1], commit="../../../../evil")
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


def test_a_cache_that_cannot_be_written_is_not_taken_for_a_missing_network(fake, exported_vae, own_cache):
    published(exported_vae[1])
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="me/model cannot be read: (?!the Hub)"):
        vae_zoo.load("me/model")


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
def test_a_folder_is_pushed_with_the_card_that_it_has(fake, exported_vae, tmp_path, capsys):
    folder = shutil.copytree(exported_vae[1], tmp_path / "mine")
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
