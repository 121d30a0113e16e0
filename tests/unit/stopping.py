"""A state that is saved at every chance and whose run is killed after some of them."""

from swim.runtime.unfinished import Unfinished


class StoppedError(Exception):
    """What kills the run."""


class StoppingAfter(Unfinished):
    """Saves whenever it is asked whether it is time, and stops the run after so many saves."""

    def __init__(self, path, saves, digest="same"):
        super().__init__(path, digest, seconds=0)
        self.left = saves

    def write(self, state):
        super().write(state)
        self.left -= 1
        if not self.left:
            raise StoppedError
