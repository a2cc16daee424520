"""fsr-eval: score networks and engines on the same faces, next to bicubic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy._util.console import command, print_json, show
from fsr_deploy._util.log import say
from fsr_deploy._util.sizes import read_size


@command
def main(
    systems: Annotated[
        list[str], typer.Argument(help="Bundles, ONNX files, plans, checkpoints, or one registered MODEL.")
    ],
    data: Annotated[str, typer.Option(help="A folder of faces, or faces:COUNT for drawn ones.")],
    checkpoint: Annotated[Path | None, typer.Option(help="The weights of MODEL.")] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The checkpoint's entry to take.", show_default="the average, if any"),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="auto, celeba, widerface, helen, scface, people (LFW, WebFace) or folder.")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Measure on the first so many faces.")] = None,
    lr_size: Annotated[
        str | None,
        typer.Option(
            metavar="N | H,W",
            help="Side of the LR faces, or height and width.",
            show_default="the engine's or checkpoint's",
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with the weights of LPIPS, FID, NIQE ...")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or openvino:NAME.")] = "auto",
    backend: Annotated[str | None, typer.Option(help="Run graphs with onnxruntime, openvino or openvino-bf16.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Load plans without a bundle, which can run code.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for scores.md and scores.json.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Score networks and engines on held-out faces, in one table with bicubic.

    \b
    fsr-eval runs/aminet/best.safetensors --data CelebA
    fsr-eval aminet --checkpoint aminet.pth --data Helen --weights weights
    fsr-eval best.safetensors bundle bundle/engine.plan --data faces:200 -o scores
    """
    from fsr_deploy.metrics.evaluate import evaluate

    table = evaluate(
        systems,
        data,
        checkpoint=checkpoint,
        key=key,
        layout=layout,
        limit=limit,
        lr_size=read_size("--lr-size", lr_size),
        weights=weights,
        device=device,
        backend=backend,
        trust=trust,
    )
    if output is not None:
        table.write(output)
        say(f"written: {output / 'scores.md'} and scores.json")
    if json:
        print_json(table.as_dict())
    else:
        show(table.as_markdown())


if __name__ == "__main__":
    main()
