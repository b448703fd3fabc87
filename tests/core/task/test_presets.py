"""Presets: what a person gets told, and what survives being written."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdcore.errors import UsageError
from sdcore.task.hooks import HooksSpec
from sdcore.task.image import image_kind
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.presets import load_preset, shipped
from sdcore.task.problems import PresetError
from sdcore.task.schema import preset_schema
from sdcore.task.shipped import shipped_folder
from sdcore.task.spec import TaskSpec
from sdcore.task.train_spec import TrainSpec
from sdcore.task.writing import dump_preset


def preset(folder: Path, text: str) -> Path:
    path = folder / "preset.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[train]\nresolutoin = 512\n", ["preset.toml:2", "train.resolutoin", "resolution?"]),
        ("\n[gpu]\ncuont = 1\n", ["preset.toml:3", "gpu.cuont", "did you mean count?"]),
        ("resolution = 512\n", ["preset.toml:1", "resolution", "[env]"]),
        ("use_ema = true\n", ["preset.toml:1", "it belongs in [train]"]),
        ("[train]\nuse_ema = 'yes'\n", ["preset.toml:2", "train.use_ema", "true or false"]),
        ("[train]\nresolution = 100\n", ["preset.toml:2", "multiple of 8"]),
        ("[train]\nlearning_rate = nan\n", ["preset.toml:2", "finite"]),
        ("[env]\nlr = 1e-5\n", ["preset.toml:2", "env.lr", '"1e-05" with quotes']),
        ("[env]\nlr = 'fast'\n", ["env.lr", "'fast'"]),
        ("\n[env]\n'A=B' = 'x'\n", ["preset.toml:2", "env: 'A=B'", "letters, digits and _"]),
        ("command = 'true'\nruntime = 'docker'\n", ["preset.toml:2: runtime", "write image ="]),
        ("[metrics]\nsource = 'log'\n", ["preset.toml:1: metrics", "remove [metrics]"]),
        ("\n[hooks]\nedn = 'true'\n", ["preset.toml:3", "hooks.edn", "did you mean end?"]),
        ("[hooks]\nend = ['true']\n", ["preset.toml:2", "hooks.end", "text in quotes"]),
        ("[hooks]\nend = 'true'\ntimeout_s = 0\n", ["preset.toml:3", "hooks.timeout_s"]),
        ("image = 'rootfs:x'\n", ["preset.toml:1: image", "absolute path"]),
        (f"[env]\nA = '{'x' * 70_000}'\n", ["over 65,536 bytes", "keep what is long in a file"]),
        ("[env]\nbatch_size = '0'\n", ["env.batch_size", "greater than 0"]),
        (
            "[env]\nlr = '1e-5'\n[train]\nlearning_rate = 1e-4\n",
            ["env.lr", "train.learning_rate", "contradict"],
        ),
        ("name = '../x'\n", ["preset.toml:1", "name"]),
        ('description = "a\\u001b]52;c;eA==\\u0007"\n', ["preset.toml:1", "control characters"]),
        ("[[mounts]]\nsource='a'\ntarget='/proc/x'\n", ["preset.toml:1", "system"]),
        ("[[mounts]]\nsource='a'\ntarget='/mnt/../etc'\n", ["without . or .."]),
        (
            "[[mounts]]\nsource='a'\ntarget='/mnt/x'\n[[mounts]]\nsource='b'\ntarget='/mnt/x'\n",
            ["two mounts have the target /mnt/x"],
        ),
        ("[cluster]\nengine = 'slurm'\nnodes = 0\n", ["preset.toml:3", "cluster.nodes"]),
        ("[cluster]\nengine='slurm'\nextra=['--wrap=a b']\n", ["cluster.extra"]),
        ("[train]\nhub_token = 'hf_abc'\n", ["HF_TOKEN"]),
        ("name = \n", ["not valid TOML", "line 1"]),
    ],
)
def test_a_wrong_preset_is_told_by_file_line_key_and_remedy(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    """A key that is ignored, or an error without a place, costs a night of training."""
    with pytest.raises(UsageError) as caught:
        load_preset(preset(tmp_path, text))

    for part in parts:
        assert part in str(caught.value)
    assert "hf_abc" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """One error per try makes ten tries."""
    text = "[gpu]\ncuont = 1\n[train]\nresolutoin = 1\nseed = -1\n"

    with pytest.raises(PresetError) as caught:
        load_preset(preset(tmp_path, text))

    assert [problem.key for problem in caught.value.problems] == [
        "gpu.cuont",
        "train.seed",
        "train.resolutoin",
    ]


@pytest.mark.parametrize(
    "text",
    ["x" * 70_000, "a" + ".a" * 5000 + " = 1", "a = " + "[" * 5000, "a = 1\na = 2", "\0"],
    ids=["large", "dotted", "deep", "twice", "nul"],
)
def test_a_hostile_file_is_refused_and_not_parsed_for_minutes(tmp_path: Path, text: str) -> None:
    """The parser needs 2.8 s for a 32 kB dotted key and overflows the stack on nested arrays."""
    with pytest.raises(UsageError):
        load_preset(preset(tmp_path, text))


def test_a_folder_a_missing_file_and_an_unknown_name_are_told(tmp_path: Path) -> None:
    """The commonest slip: a name that is not quite a shipped one."""
    for ref in (str(tmp_path / "none.toml"), "demoo", str(tmp_path) + "/"):
        with pytest.raises(UsageError):
            load_preset(ref)
    with pytest.raises(UsageError, match="pokemon"):
        load_preset("demoo")


def test_the_command_line_wins_over_the_environment_and_that_over_the_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Precedence is a promise scripts are built on."""
    path = preset(tmp_path, "[gpu]\ncount = 1\n[train]\nseed = 1\n[env]\nlr = '1e-5'\n")
    monkeypatch.setenv("SDTUI_TRAIN__SEED", "2")
    monkeypatch.setenv("SDTUI_GPU__COUNT", "2")

    task = load_preset(path, sets=["gpu.count=3", "train.learning_rate=1e-4"], name="other").task

    assert (task.gpu.count, task.train.seed, task.name) == (3, 2, "other")
    assert task.effective_train().learning_rate == 1e-4, "a flag replaces the platform's variable"
    assert load_preset(path, env=["lr=0.5"]).task.effective_train().learning_rate == 0.5


def test_the_users_own_defaults_lie_below_the_preset(tmp_path: Path) -> None:
    """A default of the user's must not change what a preset says."""
    config = tmp_path / "config" / "sdtui"
    config.mkdir(parents=True)
    (config / "config.toml").write_text("[defaults.train]\nseed = 7\nuse_ema = true\n")

    task = load_preset(preset(tmp_path, "[train]\nseed = 1\n")).task

    assert (task.train.seed, task.train.use_ema) == (1, True)


def test_a_hook_of_the_users_own_counts_for_every_task_until_one_switches_it_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who wants to hear of every run writes it once; a trial of a minute may be quiet."""
    config = tmp_path / "config" / "sdtui"
    config.mkdir(parents=True)
    (config / "config.toml").write_text("[defaults.hooks]\nend = 'mine'\ntimeout_s = 5\n")
    path = preset(tmp_path, "[gpu]\ncount = 0\n")
    other = tmp_path / "other.toml"
    other.write_text("[hooks]\nend = 'its own'\n")

    assert load_preset(path).task.hooks == HooksSpec(end="mine", timeout_s=5)
    assert load_preset(other).task.hooks == HooksSpec(end="its own", timeout_s=5)
    assert not load_preset(path, sets=["hooks.end="]).task.hooks.wanted
    monkeypatch.setenv("SDTUI_HOOKS__END", "of the shell")
    assert load_preset(other).task.hooks.end == "of the shell"


def test_relative_sources_start_at_the_preset(tmp_path: Path) -> None:
    """A preset and its data move together."""
    text = "[[mounts]]\nsource = 'data'\ntarget = '/mnt/dataset'\n"

    task = load_preset(preset(tmp_path, text)).task

    assert task.mounts[0].source == str(tmp_path / "data")


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("sd 1.sif", "{folder}/sd 1.sif"),
        ("./sd.sqsh", "{folder}/sd.sqsh"),
        ("/images/my sd.sif", "/images/my sd.sif"),
        ("team/sd:1", "team/sd:1"),
        ("docker://team/sd.sif", "docker://team/sd.sif"),
        ("rootfs:/images/sd", "rootfs:/images/sd"),
        ("colossalai 0.3.4", "colossalai 0.3.4"),
    ],
)
def test_an_images_file_is_found_from_the_preset(tmp_path: Path, image: str, wanted: str) -> None:
    """A run starts in its own folder: the preflight would find it, and the start would not."""
    path = tmp_path / "p.toml"
    path.write_text(f'command = "ls"\nimage = "{image}"\n')

    task = load_preset(str(path)).task

    assert task.image == wanted.format(folder=tmp_path)
    expected = {"rootfs:": "rootfs", "colossa": "words"}.get(image[:7], "reference")
    assert image_kind(task.image) == expected


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"]), max_size=30)
paths = st.from_regex(r"/[a-z0-9]{1,8}(/[a-z0-9 ]{1,8}){0,2}", fullmatch=True)
trains = st.fixed_dictionaries(
    {},
    optional={
        "resolution": st.integers(1, 200).map(lambda n: 8 * n),
        "learning_rate": st.floats(1e-9, 1.0),
        "use_ema": st.booleans(),
        "seed": st.integers(0, 2**63 - 1),
        "snr_gamma": st.floats(0.1, 20),
        "validation_prompts": st.lists(words, max_size=3),
        "caption_column": words,
    },
)
tasks = st.fixed_dictionaries(
    {"name": names},
    optional={
        "description": words,
        "command": words.filter(bool),
        "gpu": st.fixed_dictionaries({}, optional={"count": st.integers(0, 64), "type": words}),
        "mounts": st.lists(
            st.fixed_dictionaries(
                {"source": paths, "target": paths.map(lambda p: "/mnt" + p)},
                optional={"read_only": st.booleans()},
            ),
            max_size=3,
            unique_by=lambda m: m["target"].split("/")[2],  # else one may lie inside another
        ),
        "env": st.dictionaries(
            st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            max_size=3,
        ),
        "train": trains,
        "cluster": st.fixed_dictionaries(
            {"engine": st.just("slurm")}, optional={"nodes": st.integers(1, 9)}
        ),
    },
)


@given(table=tasks)
def test_a_preset_written_and_read_is_the_same_task(
    table: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The run directory, the form and a resume all rest on it."""
    task = TaskSpec.model_validate(table)
    path = tmp_path_factory.mktemp("preset") / "task.toml"

    path.write_text(dump_preset(task), "utf-8", newline="")

    assert load_preset(path).task == task


def test_saving_keeps_a_persons_comments_and_order() -> None:
    """A tool that eats comments is used once."""
    text = (
        "# mine\nname = 'a' # the name\n\n[train]\n# why\nseed = 1\n"
        "[[mounts]]\nsource = '/a' # disk\ntarget = '/mnt/a'\n"
    )
    task = TaskSpec.model_validate(
        {
            "name": "b",
            "train": {"seed": 2, "use_ema": True},
            "mounts": [{"source": "/b", "target": "/mnt/a"}],
        }
    )

    written = dump_preset(task, text)

    for comment in ("# mine", "# the name", "# why", "# disk"):
        assert comment in written
    assert written.index("# why") < written.index("seed = 2") < written.index("/b")


def test_a_resolved_task_says_every_setting(tmp_path: Path) -> None:
    """A later version with other defaults must resume the same training."""
    task = TaskSpec.model_validate({"name": "x", "env": {"lr": "3e-5"}, "train": {"seed": 5}})
    path = preset(tmp_path, dump_preset(task, resolved=True))

    again = load_preset(path).task

    given = again.train.model_dump(exclude_unset=True)
    assert given == {k: v for k, v in task.effective_train().model_dump().items() if v is not None}


def test_every_shipped_preset_is_a_task_and_says_for_which_memory() -> None:
    """A shipped preset that does not load is the first thing a newcomer meets."""
    found = {item.name: item for item in shipped()}

    full = {"sd15-full-24gb", "sd15-full-80gb", "sd15-full-8gpu", "sdxl-full-80gb"}
    expected = {"demo", "pokemon", "sd15-lora-12gb", "sdxl-lora-24gb"} | full
    assert expected <= set(found)
    for item in found.values():
        assert load_preset(item.path).task.name == item.name, "a run is found by the preset's name"
        assert any(word in item.description for word in ("GB", "CPU")), item.name


def test_shipped_presets_pin_nothing_that_the_gpu_can_decide() -> None:
    """A preset for 24 GB on a GPU of 80 GB would compute every activation twice for nothing."""
    for item in shipped():
        train = load_preset(item.path).task.effective_train()
        if item.name in {"pokemon", "platform-page"}:  # the platform's own task, word for word
            continue
        assert train.gradient_checkpointing is not True, item.name
        assert train.auto_batch_size or train.gradient_accumulation_steps == 1, item.name


def test_the_pokemon_preset_holds_the_platform_pages_values() -> None:
    """It is the task the program grew from, word for word."""
    task = load_preset("pokemon").task
    train = task.effective_train()

    assert set(task.env) == set(PLATFORM_ENV)
    assert (train.resolution, train.train_batch_size, train.gradient_accumulation_steps) == (
        512,
        1,
        4,
    )
    assert (train.max_train_steps, train.learning_rate, train.max_grad_norm) == (15000, 1e-5, 1.0)
    assert (train.use_ema, train.center_crop, train.random_flip) == (True, True, True)
    assert (train.gradient_checkpointing, train.mixed_precision) == (True, "fp16")
    assert (train.lr_scheduler, train.lr_warmup_steps) == ("constant", 0)
    assert (task.gpu.type, task.gpu.count) == ("NVIDIA-H800", 1)


def test_the_shipped_schema_is_the_programs_own() -> None:
    """Editors complete from the file; a stale one teaches wrong keys."""
    shipped_schema = json.loads((shipped_folder() / "preset.schema.json").read_text("utf-8"))

    assert shipped_schema == preset_schema()


def test_every_setting_has_words_and_a_group_for_the_form() -> None:
    """The form and the help are drawn from the fields; a bare one would be a blank line."""
    for name, field in TrainSpec.model_fields.items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["group"], name
    assert shipped_folder().is_dir()


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("[[mounts]]\nsource='a'\ntarget='mnt'\n", 'write for example target = "/mnt/dataset"'),
        ("[[mounts]]\nsource='a'\ntarget='/proc'\n", "choose a target below /mnt"),
        ("[[mounts]]\nsource='a'\ntarget='/output'\n", "choose a target below /mnt"),
        ("[[mounts]]\nsource='a:b'\ntarget='/mnt/x'\n", "a link to this one"),
        ('[[mounts]]\nsource="a\\nb"\ntarget="/mnt/x"\n', "a link to this one"),
        ("[cluster]\nengine='slurm'\ntime_limit='1'\n", "longer than grace_s"),
        ("[cluster]\nengine='slurm'\ntime_limit='soon'\n", 'write for example "1-00:00:00"'),
        ("[cluster]\nengine='slurm'\nmem='all'\n", 'write for example "64G"'),
        ("[cluster]\nengine='slurm'\nextra=['--array=1']\n", "remove it from cluster.extra"),
        ("[cluster]\nengine='slurm'\nextra=['x']\n", 'write for example ["--exclusive"'),
        ("[cluster]\nengine='slurm'\nnodes=0\n", "write at least 1"),
        ("[cluster]\nengine='lsf'\n", "write one of 'slurm'"),
        ("[gpu]\ncount=65\n", "write at most 64"),
        ("[gpu]\ncount=2\nprocesses=3\n", "leave gpu.processes out"),
        ("[train]\nlearning_rate=-1\n", "write more than 0"),
        ("runtime='lxc'\n", "write one of 'auto', 'host', 'bubblewrap'"),
    ],
)
def test_what_to_write_is_told_and_not_only_where(text: str, remedy: str, tmp_path: Path) -> None:
    """The words "change cluster" say no more than the line before them."""
    with pytest.raises(PresetError) as caught:
        load_preset(preset(tmp_path, text))

    assert remedy in caught.value.remedy


def test_a_folder_stands_for_the_task_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what `sdtui new-project` was given a minute ago."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/task.toml").write_text("name = 'mine'\n")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/task.toml").write_text("name = 'of-the-folder'\n")
    monkeypatch.chdir(tmp_path)

    for ref in (str(tmp_path / "mine"), "mine", "./mine/"):
        assert load_preset(ref).task.name == "mine"
    assert load_preset("demo").task.name == "demo", "a shipped name keeps its meaning"
    assert load_preset("./demo").task.name == "of-the-folder"
    with pytest.raises(UsageError, match=r"no task\.toml"):
        load_preset(tmp_path)
