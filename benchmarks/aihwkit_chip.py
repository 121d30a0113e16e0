"""Seconds per chip with aihwkit, in an environment that has it; prints JSON.

The same network and images as the engine benchmark's, read from a file; Gaussian programming noise
of the same standard deviation; a perfect forward otherwise (no converters, no read noise, no
drift), one chip after the other, in batches of 500 images.
"""

import json
import sys
import time
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")

from aihwkit.inference.noise.custom import StateIndependentNoiseModel  # noqa: E402
from aihwkit.nn.conversion import convert_to_analog  # noqa: E402
from aihwkit.simulator.configs import TorchInferenceRPUConfig  # noqa: E402

BATCH = 500


def main(path: str, std: float, repeats: int) -> None:
    """Program and run ``repeats`` chips, after a first one that is not counted."""
    torch.set_num_threads(1)
    subject = torch.load(path, weights_only=False)
    model: nn.Module = subject["model"]
    images = subject["images"].split(BATCH)
    config = TorchInferenceRPUConfig()
    config.forward.is_perfect = True
    config.noise_model = StateIndependentNoiseModel(prog_noise_scale=std * 25 / 0.2, g_max=25.0)
    config.drift_compensation = None
    config.mapping.max_input_size = config.mapping.max_output_size = 0  # one tile a layer
    analog = convert_to_analog(model, config).eval()
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with torch.no_grad():
            analog.program_analog_weights()
            for batch in images:
                analog(batch).argmax(1)
        times.append(time.perf_counter() - start)
    print(json.dumps(times[1:]))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
