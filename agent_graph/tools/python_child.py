"""Run in the interpreter that ``python`` starts: source and inputs come on standard input, the result goes out on a pipe of its own."""

import contextlib
import json
import os
import sys


def main() -> None:
    asked = json.load(sys.stdin.buffer)
    answer = int(os.environ.pop("ANSWER"))
    os.set_inheritable(answer, False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path += asked["import_from"]
    names = {"__name__": "__main__", "__builtins__": __builtins__, "inputs": asked["inputs"]}
    try:
        exec(compile(asked["source"], "<source>", "exec", dont_inherit=True), names)  # noqa: S102  # what we are here for
        if "result" not in names:
            said = {"error": "it assigned nothing to `result`; assign what is to be given back"}
        else:
            said = {"result": names["result"]}
        text = json.dumps(said, allow_nan=False)
    except BaseException as error:
        text = json.dumps({"error": _described(error)})
    for each in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the source may have closed it
            each.flush()
    rest = memoryview(text.encode())
    with contextlib.suppress(OSError):  # the source may have closed that one too
        while rest:
            rest = rest[os.write(answer, rest) :]
    os._exit(0)


def _described(error: BaseException) -> str:
    line, at = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == "<source>":
            line = at.tb_lineno
        at = at.tb_next
    try:
        message = str(error)[:2000]
    except Exception:
        message = "(its message cannot be read)"
    return f"{f'line {line}: ' if line else ''}{type(error).__name__}{f': {message}' if message else ''}"


main()
