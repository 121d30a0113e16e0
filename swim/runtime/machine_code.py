"""Machine code for this processor, made by LLVM through the package llvmlite."""

import platform
from functools import cache

from llvmlite import binding, ir


@cache
def simd_width() -> int:
    """How many float32 numbers a SIMD register of this machine holds.

    Returns:
        16 (AVX-512), 8 (AVX2) or 4 (Arm); 0 where there is no fused multiply-add.
    """
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return 4
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:
        return 0
    if not features.get("fma"):
        return 0
    return 16 if features.get("avx512f") else 8


def machine_code(
    module: ir.Module, optimised: bool = True, processor: str | None = None
) -> binding.ExecutionEngine:
    """Compile a module; its functions live as long as the engine that is returned.

    Args:
        module: the functions.
        optimised: whether instructions are rearranged first, which takes about as long as making
            machine code of them.
        processor: LLVM's name of another type of processor, whose instructions this one has, too.
    """
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=processor or binding.get_host_cpu_name(),
        features="" if processor else _features(),
        opt=3,
    )
    parsed = binding.parse_assembly(str(module))
    if optimised:
        options = binding.create_pipeline_tuning_options(speed_level=2)
        # The loops are written as vectors already, and unrolled as far as registers go.
        options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
        builder = binding.create_pass_builder(target, options)
        builder.getModulePassManager().run(parsed, builder)
    engine = binding.create_mcjit_compiler(parsed, target)
    engine.finalize_object()
    return engine


def _features() -> str:
    try:
        features: str = binding.get_host_cpu_features().flatten()
    except RuntimeError:
        return ""
    return features
