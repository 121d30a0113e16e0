rule select:
    """Weights, and second derivatives if the method ranks by them -> which weights to verify."""
    input:
        model="results/{experiment}/model.safetensors",
        sensitivity=sensitivity_of,
    output:
        "results/{experiment}/masks/{device}/{method}/{fraction}.npz",
    log:
        "results/{experiment}/logs/select/{device}/{method}-{fraction}.log",
    benchmark:
        "results/{experiment}/benchmarks/select/{device}/{method}-{fraction}.tsv"
    localrule: True
    conda:
        "../envs/swim.yaml"
    params:
        settings=lambda wildcards: job(
            spec.SelectJob,
            wildcards,
            method=wildcards.method,
            fraction=wildcards.fraction,
        ),
        code=lambda wildcards: sources.digest("select", method=wildcards.method),
        sensitivity=lambda wildcards, input: (
            f"--sensitivity {input.sensitivity}" if input.sensitivity else ""
        ),
    shell:
        "python -m swim select --model {input.model:q} {params.sensitivity}"
        " --out {output:q} --settings {params.settings:q} > {log:q} 2>&1"
