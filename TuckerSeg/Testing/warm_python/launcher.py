"""Stands for a process that the server forks: the same streams, signals and end.

``python launcher.py SOCKET -m MODULE ...``; anything but ``-m`` becomes a plain Python.
"""

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    address, *words = sys.argv[1:]
    if words[0] != "-m":
        os.execv(sys.executable, [sys.executable, *words])
    request = {"module": words[1], "arguments": words[2:], "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(address)
        for number in PASSED_ON:
            signal.signal(number, lambda number, frame: connection.send(bytes([number])))
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        answer = connection.recv(64)
    status = int(answer or signal.SIGKILL)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


main()
