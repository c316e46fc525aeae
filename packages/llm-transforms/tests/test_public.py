"""The package's table of contents."""

import importlib.resources
import inspect
import pickle

import llm_transforms
from llm_transforms import TransformError, parsing, results
from llm_transforms.errors import (
    BatchSizeError,
    ClosedError,
    HistoryNeededError,
    InvalidArgumentError,
    InvalidMessageError,
    MissingExtraError,
    NotAnExecutorError,
    NotResetError,
    TransformInUseError,
    UnknownNameError,
)

ERRORS: list[tuple[TransformError, type[Exception]]] = [
    (BatchSizeError("replies", 2, 3), ValueError),
    (ClosedError("env"), RuntimeError),
    (HistoryNeededError("text"), RuntimeError),
    (InvalidArgumentError("timeout", -1, "positive"), ValueError),
    (InvalidMessageError("replies[0]", 1, "text"), TypeError),
    (MissingExtraError("torch", "torchrl"), ImportError),
    (NotAnExecutorError("x", "y", "execute_batch"), TypeError),
    (NotResetError([0, 1]), RuntimeError),
    (TransformInUseError("t"), RuntimeError),
    (UnknownNameError("code format", "x", ["b", "a"]), ValueError),
]


def test_all_is_sorted_and_exact() -> None:
    for module in (llm_transforms, parsing, results):
        public = {
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and not inspect.ismodule(value)
        }
        assert set(module.__all__) == public
        upper = [name for name in module.__all__ if name.isupper()]
        classes = [name for name in module.__all__ if name[0].isupper() and not name.isupper()]
        functions = [name for name in module.__all__ if name[0].islower()]
        assert module.__all__ == sorted(upper) + sorted(classes) + sorted(functions)


def test_the_types_are_shipped() -> None:
    assert importlib.resources.files("llm_transforms").joinpath("py.typed").is_file()


def test_errors_are_the_standard_ones_too_and_pickle_with_what_they_know() -> None:
    for error, standard in ERRORS:
        assert isinstance(error, standard)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_every_error_is_tried() -> None:
    tried = {type(error) for error, _ in ERRORS}
    assert tried == set(TransformError.__subclasses__())


def test_every_error_can_be_had_from_the_package() -> None:
    assert {error.__name__ for error in TransformError.__subclasses__()} <= set(
        llm_transforms.__all__
    )
