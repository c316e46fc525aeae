"""Programs in replies are run and answered, in each of the modes."""

import base64
import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from llm_transforms import (
    ChatEnv,
    ClosedError,
    CodeBlock,
    InvalidArgumentError,
    MarkdownFences,
    Message,
    NotAnExecutorError,
    PythonInterpreter,
    UnknownNameError,
)
from llm_transforms.execution import FreshProcesses
from python_executor import Execution, ExecutionResult, PythonExecutorService
from services_core import (
    RegistryClosedError,
    ServiceBase,
    ServiceDiedError,
    ServiceNotFoundError,
    UnknownBackendError,
    get_services,
)


def python(*programs: str) -> str:
    return "\n".join(f"```python\n{program}\n```" for program in programs)


def done(number: int, printed: str) -> str:
    return f"Code block {number} executed successfully:\n{printed}\n"


def answers(env: ChatEnv, replies: list[str | None]) -> list[list[Any]]:
    """What the tool says to each reply."""
    before = [len(chat) for chat in env.chats]
    chats = env.step(replies)
    new = [
        chat[size + (reply is not None) :]
        for chat, size, reply in zip(chats, before, replies, strict=True)
    ]
    assert {message["role"] for each in new for message in each} <= {"tool"}
    return [[message["content"] for message in each] for each in new]


def make_env(size: int, **options: Any) -> ChatEnv:
    env = ChatEnv(size).append_transform(PythonInterpreter(**options))
    env.reset(["go"] * size)
    return env


class Counting:
    """A real executor that counts the calls to it."""

    def __init__(self) -> None:
        self.executor = PythonExecutorService(pool_size=4, timeout=20.0)
        self.calls: list[str] = []
        self.batches: list[list[Execution]] = []

    def execute(self, code: str) -> ExecutionResult:
        self.calls.append("execute")
        return self.executor.execute(code)

    def execute_batch(self, executions: list[Execution]) -> list[ExecutionResult]:
        self.calls.append("execute_batch")
        self.batches.append(executions)
        return self.executor.execute_batch(executions)

    def seen(self) -> tuple[list[str], list[list[Execution]]]:
        return self.calls, self.batches

    def close(self) -> None:
        self.executor.close()


@pytest.fixture
def counted(services: ServiceBase) -> ServiceBase:
    services.register("python_executor", Counting)
    return services


@pytest.fixture(params=["fresh", "persistent", "service", "sessions", "replicas"])
def options(request: pytest.FixtureRequest, services: ServiceBase) -> dict[str, Any]:
    """The arguments of each mode."""
    if request.param in ("fresh", "persistent"):
        return {"persistent": request.param == "persistent"}
    replicas = 2 if request.param == "replicas" else 1
    services.register("python_executor", PythonExecutorService, pool_size=2, replicas=replicas)
    return {"services": services, "persistent": request.param != "service"}


# -- what is true in every mode --------------------------------------------------------------------


def test_a_batch_is_answered_reply_by_reply(options: dict[str, Any]) -> None:
    with make_env(4, timeout=20.0, **options) as env:
        assert answers(
            env, [python("print('a')"), "no code", None, python("print('b')", "print('c')")]
        ) == [
            [done(1, "a")],
            [],
            [],
            [
                done(1, "b"),
                done(2, "c"),
            ],
        ]
        assert answers(env, ["thanks"] * 4) == [[], [], [], []]


def test_every_failure_reaches_the_model(options: dict[str, Any]) -> None:
    with make_env(5, timeout=1.0, **options) as env:
        told = answers(
            env,
            [
                python("1 / 0"),
                python("while True: pass"),
                python("import os; os._exit(3)"),
                python("print('\0')"),
                python("x = = 1", "print('still here')"),
            ],
        )
    assert told[0][0].endswith("ZeroDivisionError: division by zero\n")
    assert "TimeoutError" in told[1][0]
    assert "ProcessCrashedError" in told[2][0]
    assert "NUL" in told[3][0]
    assert "SyntaxError" in told[4][0]
    assert told[4][1].endswith("still here\n")


def test_names_of_one_environment_are_never_seen_by_another(options: dict[str, Any]) -> None:
    with make_env(2, timeout=20.0, **options) as env:
        answers(env, [python("secret = 1"), None])
        told = answers(env, [None, python("print(secret)")])
    assert "NameError" in told[1][0]


def test_only_what_the_assistant_wrote_is_executed(options: dict[str, Any]) -> None:
    printing = "print('`' * 3 + 'python\\nprint(\"twice\")\\n' + '`' * 3)"
    with PythonInterpreter(timeout=20.0, **options) as first:
        env = ChatEnv(1, system_prompt=python("print('system')")).append_transform(first)
        env = env.append_transform(PythonInterpreter(timeout=20.0, **options))
        env.reset([python("print('user')")])
        told = answers(env, [python(printing)])
        # Both answered the reply; neither answered the other's answer.
        assert told == [["Code block 1 executed successfully:\n" + _fence("twice")] * 2]
        assert answers(env, ["that is it"]) == [[]]
        env.close()


def _fence(word: str) -> str:
    return f'```python\nprint("{word}")\n```\n'


def test_a_clone_has_the_settings_and_nothing_else(options: dict[str, Any]) -> None:
    interpreter = PythonInterpreter(tool_name="ipython", timeout=20.0, **options)
    clone = interpreter.clone()
    interpreter.close()
    assert repr(clone) == repr(interpreter)
    with ChatEnv(1).append_transform(clone) as env:
        env.reset(["go"])
        assert env.step([python("print(1)")])[0][-1]["role"] == "ipython"


def test_it_pickles_without_its_processes(options: dict[str, Any]) -> None:
    with make_env(1, timeout=20.0, **options) as env:
        answers(env, [python("x = 1")])
        again = pickle.loads(pickle.dumps(env.transforms[0]))
        assert repr(again) == repr(env.transforms[0])
        with ChatEnv(1).append_transform(again) as other:
            other.reset(["go"])
            assert "NameError" in answers(other, [python("print(x)")])[0][0]


def test_after_close_it_says_so(options: dict[str, Any]) -> None:
    interpreter = PythonInterpreter(**options)
    interpreter.close()
    interpreter.close()
    with pytest.raises(ClosedError, match="PythonInterpreter"):
        interpreter.step([[]], [{"role": "assistant", "content": python("1")}])


# -- a shared service ------------------------------------------------------------------------------


def test_a_batch_of_environments_is_one_call(counted: ServiceBase) -> None:
    replies: list[str | None] = [python(f"print({i})", f"print(-{i})") for i in range(100)]
    replies += ["no code"] * 28
    with make_env(128, services=counted, timeout=5.0) as env:
        told = answers(env, replies)
        assert answers(env, replies) == told
        assert answers(env, ["no code at all"] * 128) == [[]] * 128
    calls, batches = counted["python_executor"].seen()
    assert calls == ["execute_batch", "execute_batch"]
    assert [len(batch) for batch in batches] == [200, 200]
    assert {execution.timeout for execution in batches[0]} == {5.0}
    assert told[7] == [
        done(1, "7"),
        done(2, "-7"),
    ]
    assert told[100:] == [[]] * 28


def test_128_environments_keep_32_interpreters_busy(services: ServiceBase) -> None:
    executor = services.register(
        "python_executor", PythonExecutorService, pool_size=32, timeout=50.0, max_concurrency=2
    )
    seen: list[tuple[int, int]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            stats = executor.stats()
            seen.append((stats["running"], stats["pending"]))

    watching = threading.Thread(target=watch)
    with make_env(128, services=services, timeout=50.0) as env:
        watching.start()
        try:
            env.step(["```python\nimport time; time.sleep(0.3)\n```"] * 128)
        finally:
            ended.set()
            watching.join()
    running = sorted(running for running, pending in seen if pending)
    assert running[len(running) // 2] == 32
    assert executor.stats()["pending_peak"] == 96


def test_what_cannot_be_run_is_answered_without_the_service(counted: ServiceBase) -> None:
    class Tool:
        name = "tool"

        def blocks(self, message: Any) -> list[CodeBlock]:
            return [
                CodeBlock("", 0, 0, problem="the call has no closing brace"),
                CodeBlock("print(1)", 0, 0),
            ]

    with make_env(1, services=counted, code_format=Tool()) as env:
        told = answers(env, ["x"])
    assert told[0][0] == "Code block 1 failed:\nRejectedError: the call has no closing brace\n"
    assert told[0][1] == done(2, "1")
    assert [len(batch) for batch in counted["python_executor"].seen()[1]] == [1]


def test_a_service_is_found_by_backend_namespace_and_name(services: ServiceBase) -> None:
    services.register("fast", PythonExecutorService, pool_size=1)
    options = {"services": "inline", "namespace": services.namespace, "service_name": "fast"}
    with make_env(1, **options) as env:
        assert answers(env, [python("print(1)")]) == [[done(1, "1")]]
    assert services.list() == ["fast"]


def test_a_registry_that_was_opened_in_vain_is_closed(
    services: ServiceBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ServiceBase] = []

    def remember(backend: str, namespace: str) -> ServiceBase:
        opened.append(get_services(backend, namespace))
        return opened[-1]

    monkeypatch.setattr("llm_transforms.placement.get_services", remember)
    with pytest.raises(ServiceNotFoundError):
        PythonInterpreter(services="inline", namespace=services.namespace)
    (registry,) = opened
    with pytest.raises(RegistryClosedError):
        registry.list()


def test_the_namespace_is_services_if_none_is_given() -> None:
    with get_services("inline") as services:
        services.register("python_executor", PythonExecutorService, pool_size=1)
        with make_env(1, services="inline") as env:
            assert len(answers(env, [python("1")])[0]) == 1


def test_a_service_that_died_is_an_error_and_no_message(services: ServiceBase) -> None:
    services.register("python_executor", PythonExecutorService, pool_size=1)
    with make_env(1, services=services) as env:
        services.reset()
        with pytest.raises(ServiceDiedError):
            env.step([python("print(1)")])
        assert len(env.chats[0]) == 1


def test_a_pool_that_is_closed_makes_no_processes(children: Callable[[], set[int]]) -> None:
    before = children()
    pool = FreshProcesses(10.0)
    pool.close()
    with pytest.raises(ClosedError):
        pool.run({0: [Execution("1")]})
    assert children() == before


def test_an_unknown_backend_fails_at_once() -> None:
    with pytest.raises(UnknownBackendError, match="unknown backend 'cloud'"):
        PythonInterpreter(services="cloud")


def test_an_unknown_service_fails_at_once(services: ServiceBase) -> None:
    services.register("tokenizer", dict)
    with pytest.raises(ServiceNotFoundError, match=r"python_executor.*there: 'tokenizer'"):
        PythonInterpreter(services=services)
    with pytest.raises(ServiceNotFoundError, match="'python_executor'"):
        PythonInterpreter(services="inline", namespace="test-nobody")


def test_a_service_that_is_no_executor_fails_at_once(services: ServiceBase) -> None:
    services.register("python_executor", dict)
    with pytest.raises(NotAnExecutorError, match="no method execute_batch: register"):
        PythonInterpreter(services=services)


def test_names_that_last_need_a_service_with_sessions(counted: ServiceBase) -> None:
    with pytest.raises(NotAnExecutorError, match=r"close_session, .*no sessions.*persistent=False"):
        PythonInterpreter(services=counted, persistent=True)


def test_a_registry_brings_its_namespace(counted: ServiceBase) -> None:
    PythonInterpreter(services=counted, namespace=counted.namespace).close()
    with pytest.raises(InvalidArgumentError, match="namespace"):
        PythonInterpreter(services=counted, namespace="other")


def test_services_are_a_name_or_a_registry_or_nothing() -> None:
    with pytest.raises(InvalidArgumentError, match="services must be"):
        PythonInterpreter(services=3)  # type: ignore[arg-type]


# -- names that last -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["persistent", "sessions", "replicas"], indirect=True)
def test_names_last_until_the_environment_is_reset(options: dict[str, Any]) -> None:
    with make_env(3, timeout=20.0, **options) as env:
        answers(env, [python(f"x = {i}") for i in range(3)])
        assert answers(env, [python("print(x)")] * 3) == [[done(1, str(i))] for i in range(3)]
        env.reset(["again"], environments=[1])
        told = answers(env, [python("print(x)")] * 3)
    assert told[0] == [done(1, "0")]
    assert "NameError" in told[1][0]
    assert told[2] == [done(1, "2")]


@pytest.mark.parametrize("options", ["persistent", "sessions", "replicas"], indirect=True)
def test_blocks_of_one_reply_run_in_their_order_when_names_last(options: dict[str, Any]) -> None:
    with make_env(1, timeout=20.0, **options) as env:
        told = answers(env, [python("x = 1", "x += 1", "print(x)")])
    assert told[0][2] == done(3, "2")


def test_an_environment_that_runs_no_code_has_no_process(
    children: Callable[[], set[int]],
) -> None:
    before = len(children())
    with make_env(8, persistent=True, timeout=20.0) as env:
        assert len(children()) == before
        answers(env, [python("1"), *["no code"] * 7])
        assert len(children()) == before + 1


def test_an_interpreter_that_ended_is_replaced_and_the_model_is_told() -> None:
    with make_env(1, persistent=True, timeout=20.0) as env:
        answers(env, [python("x = 1")])
        answers(env, [python("import os; os._exit(1)")])
        (told,) = answers(env, [python("print(1)")])
    assert "Names of earlier blocks are gone." in told[0]


@pytest.mark.parametrize("options", ["persistent", "sessions", "replicas"], indirect=True)
def test_an_environment_that_was_pickled_goes_on_and_the_model_is_told(
    options: dict[str, Any],
) -> None:
    with make_env(3, timeout=20.0, **options) as env:
        answers(env, [python("x = 1"), python("x = 2"), None])
        env.reset(["again"], environments=[1])
        for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
            with other:
                assert other.chats == env.chats
                ((told,), *others) = answers(other, [python("print(1)")] * 3)
                assert told.startswith(done(1, "1") + "Note: ")
                assert "Names of earlier blocks are gone." in told
                assert others == [[done(1, "1")]] * 2
                assert answers(other, [python("print(1)")] * 3) == [[done(1, "1")]] * 3
        assert answers(env, [python("print(x)"), None, None])[0] == [done(1, "1")]


def test_without_persistence_nothing_is_lost_by_pickling() -> None:
    with make_env(1, timeout=20.0) as env:
        answers(env, [python("x = 1")])
        with pickle.loads(pickle.dumps(env)) as other:
            assert answers(other, [python("print(1)")]) == [[done(1, "1")]]


def test_without_persistence_each_block_starts_afresh() -> None:
    with make_env(1, timeout=20.0) as env:
        told = answers(env, [python("x = 1", "print(x)")])
    assert "NameError" in told[0][1]


# -- the rest --------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "1", True])
def test_a_timeout_is_a_positive_number(timeout: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="timeout must be"):
        PythonInterpreter(timeout=timeout)


def test_no_timeout_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgumentError, match="timeout must be a positive number of seconds"):
        PythonInterpreter(timeout=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", [3, None, ["tool"]])
def test_a_role_is_text(role: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="tool_name"):
        PythonInterpreter(tool_name=role)


def test_a_role_cannot_be_empty() -> None:
    with pytest.raises(InvalidArgumentError, match="tool_name"):
        PythonInterpreter(tool_name="")


def test_formats_are_chosen_by_name() -> None:
    with pytest.raises(UnknownNameError, match="code format 'xml'"):
        PythonInterpreter(code_format="xml")
    with pytest.raises(UnknownNameError, match="result formatter 'xml'"):
        PythonInterpreter(results="xml")


def test_a_format_with_options_is_taken_and_pickles() -> None:
    interpreter = PythonInterpreter(code_format=MarkdownFences(bare=True), timeout=20.0)
    with pickle.loads(pickle.dumps(interpreter)) as again:
        reply: Message = {"role": "assistant", "content": "```\nprint(1)\n```"}
        assert len(again.step([[]], [reply])[0]) == 1


CALL = '<tool_call>\n{"name": "python", "arguments": {"code": "print(6 * 7)"}}\n</tool_call>'


def test_programs_are_found_in_the_format_of_the_model() -> None:
    with make_env(3, code_format="hermes", results="tool_response", timeout=20.0) as env:
        told = answers(env, [CALL, python("print(1)"), CALL.replace('"code"', '"cod"')])
    assert told[:2] == [["<tool_response>\n42\n</tool_response>"], []]
    assert "RejectedError" in told[2][0]
    assert "code" in told[2][0]


def test_several_formats_are_taken_at_once() -> None:
    for chosen in (["markdown", "hermes"], "auto"):
        with make_env(1, code_format=chosen, timeout=20.0) as env:
            assert answers(env, [f"{CALL}\n{python('print(1)')}"]) == [
                [done(1, "42"), done(2, "1")]
            ]


def test_every_call_of_an_openai_message_is_answered_whichever_run() -> None:
    calls = [
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": "python", "arguments": f'{{"code": "x = {n}; print(x)"}}'},
        }
        for n in range(3)
    ]
    expected = {
        "all": ["0\n", "1\n", "2\n"],
        "last": ["Not run: only the last", "Not run: only the last", "2\n"],
        "joined": ["Run together with the last", "Run together with the last", "0\n1\n2\n"],
    }
    for blocks, words in expected.items():
        options: dict[str, Any] = {"code_format": "openai", "results": "openai", "blocks": blocks}
        with ChatEnv(1).append_transform(PythonInterpreter(timeout=20.0, **options)) as env:
            env.reset(["go"])
            (chat,) = env.step([{"role": "assistant", "content": None, "tool_calls": calls}])
        told = chat[-3:]
        assert [each["tool_call_id"] for each in told] == ["call_0", "call_1", "call_2"]
        assert all(word in each["content"] for word, each in zip(words, told, strict=True))


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [("last", [done(1, "2")]), ("joined", ["Code block 1 executed successfully:\n1\n2\n"])],
)
def test_the_last_block_runs_or_all_as_one(blocks: Any, expected: list[str]) -> None:
    with make_env(1, blocks=blocks, timeout=20.0) as env:
        assert answers(env, [python("print(1)", "print(2)")]) == [expected]


def test_there_is_no_other_choice_of_blocks() -> None:
    with pytest.raises(InvalidArgumentError, match="blocks must be one of"):
        PythonInterpreter(blocks="first")  # type: ignore[arg-type]


def test_output_is_limited_in_characters_or_in_tokens() -> None:
    class Words:
        def encode(self, text: str) -> list[str]:
            return text.split()

    program = python("print('a ' * 100)\n1 / 0")
    for options, words in (({"max_output_chars": 20}, 11), ({"max_output_tokens": 8}, 8)):
        with make_env(1, tokenizer=Words(), timeout=20.0, **options) as env:
            (told,) = answers(env, [program])[0]
        output, _, error = told.partition("Traceback")
        assert " characters left out ..." in output
        assert output.split().count("a") <= words
        assert error.endswith("ZeroDivisionError: division by zero\n")


def test_a_limit_in_tokens_needs_a_tokenizer_and_is_the_only_one() -> None:
    with pytest.raises(InvalidArgumentError, match="tokenizer must be an object with encode"):
        PythonInterpreter(max_output_tokens=100)
    with pytest.raises(InvalidArgumentError, match="max_output_tokens must be None if"):
        PythonInterpreter(max_output_chars=9, max_output_tokens=100)


def test_figures_are_image_parts_when_asked_for() -> None:
    program = python("import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nprint('drawn')")
    for images in (False, True):
        with make_env(1, images=images, timeout=50.0, persistent=True) as env:
            (content,) = answers(env, [program])[0]
        text = done(1, "drawn")
        if not images:
            assert content == text
            continue
        words, image = content
        assert words == {"type": "text", "text": text}
        url = image["image_url"]["url"]
        assert url.startswith("data:image/png;base64,")
        assert base64.b64decode(url.partition(",")[2]).startswith(b"\x89PNG")


def test_arguments_stand_in_the_order_of_torchrls() -> None:
    interpreter = PythonInterpreter(None, "ipython", True, 5.0)
    assert repr(interpreter) == (
        "PythonInterpreter(tool_name='ipython', persistent=True, timeout=5.0)"
    )


def test_its_repr_says_what_was_chosen() -> None:
    assert repr(PythonInterpreter()) == "PythonInterpreter()"
    assert repr(PythonInterpreter(timeout=5.0)) == "PythonInterpreter(timeout=5.0)"


def test_its_repr_is_short_whatever_was_chosen() -> None:
    tokenizer = Tokenizer(models.WordLevel({f"word {n}": n for n in range(1_000)}))
    interpreter = PythonInterpreter(tokenizer, max_output_tokens=9)
    assert "tokenizer=Tokenizer(" in repr(interpreter)
    assert len(repr(interpreter)) < 250
