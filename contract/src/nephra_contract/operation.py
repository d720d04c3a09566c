"""An operation: one named step, files in, files out.

What an operation is stands in one object. Endpoint, JSON schema, documentation, command-line
help and the KServe model are all read from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, create_model

from nephra_contract.code import digest_of
from nephra_contract.errors import RequestInvalid
from nephra_contract.fences import Fence
from nephra_contract.labels import LabelSpace, LabelSpaceName
from nephra_contract.messages import InputDescription, OperationDescription
from nephra_contract.volume import LabelMap

Phase = Literal["A", "P", "D"]
OutputKind = Literal["mask", "scene"]


class Parameters(BaseModel):
    """Base of every operation's parameters: unknown fields refused, units in names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoParameters(Parameters):
    """An operation without parameters of its own."""


@dataclass(frozen=True)
class Input:
    """One file that an operation reads.

    Args:
        name: the request's member, ending in `_path`.
        kind: `image` (CT in HU) or `mask` (label map).
        description: one sentence.
        many: a list of masks is taken too, merged on the first one's grid.
        separate: the function gets the masks as a list, unmerged, each on its own grid.
        space: the table that its numbers are always in, whatever the request's `labels` says.
        optional: the request may leave it out.
        phase: for images, the contrast phase that it is meant to be.
        aliases: other spellings that requests may use.
    """

    name: str
    kind: Literal["image", "mask"]
    description: str
    many: bool = False
    optional: bool = False
    phase: Phase | None = None
    aliases: tuple[str, ...] = ()
    separate: bool = False
    space: LabelSpaceName | None = None


@dataclass(frozen=True)
class Outcome:
    """What an operation hands back when it has more to say than its value.

    Args:
        value: a `LabelMap` or a `Scene`.
        report: figures for the caller (JSON values).
        warnings: sentences for the caller.
        layers: label maps beside the value, each a file of its own; `added` is answered as
            `added_path`. The answer has a member for each name that operations use.
    """

    value: Any
    report: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    layers: Mapping[str, LabelMap] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One named step.

    Args:
        name: `<predictor>/<model>`, for example `postprocess/fat`.
        inputs: the files it reads, in the order in which `function` takes them.
        parameters: the class of its parameters; its docstring is the summary.
        function: `(*inputs, parameters, progress) -> LabelMap | Scene | Outcome`; pure.
            An optional input that was left out is given as None.
        output: what it makes.
        version: of its algorithm; part of every manifest.
        example: a request that the documentation shows.
    """

    name: str
    inputs: tuple[Input, ...]
    parameters: type[Parameters]
    function: Callable[..., Any]
    output: OutputKind = "mask"
    version: str = "1"
    example: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The name of its KServe model: the last part of its own."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def code(self) -> str:
        """Digest of the code that does it: its package's, and the contract's."""
        package = self.function.__module__.partition(".")[0]
        return digest_of(*dict.fromkeys([package, "nephra_contract"]))

    @property
    def summary(self) -> str:
        """The first line of the parameters' docstring."""
        return (self.parameters.__doc__ or "").strip().splitlines()[0]

    @cached_property
    def request_model(self) -> type[BaseModel]:
        """The request as a Pydantic model: files, parameters and what every request has."""
        fields: dict[str, Any] = {i.name: _input_field(i) for i in self.inputs}
        if any(i.kind == "mask" for i in self.inputs):
            fields["labels"] = (
                LabelSpaceName | dict[str, int],
                Field("nephra", description="The table that the input masks' numbers are in."),
            )
        name = "".join(part.title() for part in self.name.replace("/", "_").split("_"))
        return create_model(f"{name}Request", __base__=(self.parameters, Common), **fields)

    def parse(self, request: Mapping[str, Any]) -> Request:
        """Check a request and take it apart.

        Raises:
            RequestInvalid: unknown, missing or ill-typed members; each is named.
        """
        try:
            parsed = self.request_model.model_validate(dict(request))
        except ValidationError as error:
            raise invalid(error) from error
        own = {name: getattr(parsed, name) for name in self.parameters.model_fields}
        files = {}
        for item in self.inputs:
            given = getattr(parsed, item.name)
            if given is not None:
                files[item.name] = list(given) if isinstance(given, (list, tuple)) else [given]
        common = Common.model_validate({n: getattr(parsed, n) for n in Common.model_fields})
        space: LabelSpace = getattr(parsed, "labels", "nephra")
        return Request(files, self.parameters.model_construct(**own), space, common)

    def describe(self, predictor: str) -> OperationDescription:
        """What the gateway, the documentation and the command line learn of it."""
        return OperationDescription(
            name=self.name,
            model=self.model,
            predictor=predictor,
            summary=self.summary,
            description=(self.parameters.__doc__ or "").strip(),
            inputs=[
                InputDescription(
                    name=i.name,
                    kind=i.kind,
                    description=i.description,
                    many=i.many,
                    optional=i.optional,
                    phase=i.phase,
                )
                for i in self.inputs
            ],
            output=self.output,
            version=self.version,
            code=self.code,
            request_schema=self.request_model.model_json_schema(by_alias=False),
            example=dict(self.example),
        )


class Common(BaseModel):
    """What every request may carry."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    output_path: str | None = Field(
        None, description="Also put the result here, relative to the data root."
    )
    ticket: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{32}$",
        description="The ticket that the work belongs to; the gateway sets it.",
    )
    step: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]{0,40}$",
        description="What tells this work from other work of the same operation under the ticket; "
        "the gateway sets it, empty where there is none. With it the ticket's folder has to be "
        "there, the result is made once, and nothing is written when the ticket has ended.",
    )

    attempt: int = Field(
        0,
        ge=0,
        description="At the ticket; what an earlier one still does cannot be written any more. "
        "The gateway sets it.",
    )

    @property
    def fence(self) -> Fence | None:
        """Where the work may write; None where it belongs to no step of a ticket."""
        if self.ticket is None or self.step is None:
            return None
        return Fence(self.step, self.attempt)


@dataclass(frozen=True)
class Request:
    """A request, taken apart.

    Args:
        files: by input, the paths named (several for a list of masks).
        parameters: the operation's own.
        labels: the table of the input masks.
        common: what every request may carry.
    """

    files: Mapping[str, list[str]]
    parameters: Parameters
    labels: LabelSpace
    common: Common


def collect(package: str, *modules: str) -> tuple[Operation, ...]:
    """Import `<package>.<module>` for each module and take its constant `OPERATION`.

    This is the one line that a new operation adds its name to.
    """
    return tuple(import_module(f"{package}.{name}").OPERATION for name in modules)


def invalid(error: ValidationError) -> RequestInvalid:
    """Pydantic's findings as one of ours: which member, and what is wrong with it."""
    found = [
        {"member": ".".join(str(p) for p in e["loc"]) or "(request)", "problem": e["msg"]}
        for e in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    said = "; ".join(f"{f['member']}: {f['problem']}" for f in found[:5])
    return RequestInvalid(
        f"The request is not understood: {said}.",
        "GET /operations shows what each operation takes.",
        errors=found,
    )


def _input_field(item: Input) -> tuple[Any, Any]:
    path: Any = str
    if item.many:
        path = str | Annotated[list[str], Field(min_length=1)]
    choices = AliasChoices(item.name, *item.aliases) if item.aliases else None
    default: Any = ...
    if item.optional:
        path, default = path | None, None
    return path, Field(default, validation_alias=choices, description=item.description)
