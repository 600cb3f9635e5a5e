"""What must be known before a study runs, without touching anything: budgets, programs, MPI, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import BaseModel

from pliant.campaign.brought import packaged, programs_brought
from pliant.campaign.kernels import Kernels, choose, requires
from pliant.campaign.one_kernel import crowd, tight
from pliant.campaign.one_kernel import lacking as too_little
from pliant.campaign.places import Place
from pliant.cluster import mpi as mpi_
from pliant.composition.faults import Fault
from pliant.composition.faults import warnings as fault_warnings
from pliant.composition.nodeset import fold
from pliant.errors import UserError
from pliant.machine.facts import PROGRAMS, Facts, open_files
from pliant.platforms.budget import fullest, host_figures, overdrawn, promises, width
from pliant.platforms.here import elsewhere
from pliant.platforms.interface import CommandFailed, HostFigures
from pliant.platforms.machines import Machines, least
from pliant.platforms.tryout import lacking
from pliant.proportions import Host
from pliant.statistics.bandwidth_bound import client_rate, expected_break
from pliant.statistics.search import Schedule, Search, Within, schedule
from pliant.study.faults import chosen
from pliant.study.model import LabelledWorkload, Study
from pliant.study.problems import Problem, StudyError
from pliant.units import format_size
from pliant.workloads.model import Metric, Phase, Toolbox, asked_for


@dataclass(frozen=True)
class Prepared:
    """A study of one file system that can run on this machine: what was found for each workload."""

    study: Study
    figures: HostFigures
    machine: Facts
    tools: Mapping[str, Toolbox]
    mpi: Mapping[str, mpi_.Mpi]
    warnings: tuple[str, ...]
    scale: float = 1.0
    """What a real host's CPU, NIC and disk were divided by."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The file system's packages, with the versions that are installed."""
    whole: Study | None = None
    """The study with all of its file systems; None if it has this one only."""
    last: float | None = None
    """The smallest ratio at which a metric broke in the last run of the study, if that is known."""
    kernels: Kernels = field(default_factory=lambda: Kernels({}))
    """Which nodes have one of their own."""
    brought: Mapping[str, str] = field(default_factory=dict)
    """The file system's programs that lie where the user says: name -> path."""
    place: Place = field(default_factory=Place)
    """Where it runs. `machine` has what each of its machines has at least."""

    @property
    def filesystem(self) -> str:
        """What the file system is called in the study."""
        return self.study.alone.label

    @property
    def all_of_it(self) -> Study:
        """The study with all of its file systems."""
        return self.whole or self.study

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs of this machine that workloads run in nodes, or are started by, and the file system's that are
        named by where they lie; by their paths."""
        named = [each for workload in self.study.workloads for each in programs_of(workload)]
        named += [each for each in self.study.composition.programs if each.startswith("/")]
        own = [tools.program for tools in self.tools.values() if tools.program]
        where = map(self.place.machines.which, named)
        found = [*own, *filter(None, where), *(mpi.mpiexec for mpi in self.mpi.values())]
        return tuple(dict.fromkeys(found))

    @property
    def program_versions(self) -> dict[str, str]:
        """What the programs that have no built-in kernel say of their versions, for a run's facts."""
        found = {label: self.tools[label].program for label in self.study.labels}
        needed = {label: path for label, path in found.items() if path and programs_of(self.study.workload(label))}
        asked = self.place.machines.version
        return {f"program of {label}": asked((path, "--version")) for label, path in needed.items()}

    def program(self, label: str) -> str:
        """What produces a workload's numbers: the path of the real benchmark, or the built-in kernel's name."""
        workload = self.study.workload(label)
        named = getattr(workload.driver, "program", "") and not hasattr(workload.driver, "programs")
        own = f"pliant's built-in {workload.driver.name} kernel" if named else f"{workload.driver.name}'s own"
        return self.tools[label].program or ", ".join(programs_of(workload)) or own

    def phases(self, label: str) -> tuple[Phase, ...]:
        """The phases of a workload's trials."""
        workload = self.study.workload(label)
        return workload.driver.phases(workload.options, self.work(label), self.tools[label])

    def crowded(self, label: str) -> dict[float, int]:
        """Ratio -> MPI ranks of a workload on the host with the most of them, where these are more than its CPUs."""
        clients = {node.name for node in self.study.composition.clients}
        ranks = max((phase.ranks_per_client for phase in self.phases(label) if not phase.each), default=0)
        most = {
            ratio: ranks * max(len(clients.intersection(nodes)) for nodes in placement.hosts)
            for ratio, placement in self.study.placements.items()
        }
        return {ratio: count for ratio, count in most.items() if count > width(self.figures.cores)}

    def work(self, label: str) -> str:
        """The directory, on the mount, that a workload's trials work in: always the same.

        A file system may place files by their path, so another name would be another experiment.
        """
        return f"{self.study.composition.mount}/pliant-{self.study.workload(label).plain or label}"

    @property
    def expected_break(self) -> float | None:
        """The smallest ratio at which NICs and disks leave clients too little; None if they do at none."""
        study, figures = self.study, self.figures
        if not (figures.nic_bit_s and figures.disk_byte_s):  # nobody knows what real hosts have until it is measured
            return None
        clients = [node.name for node in study.composition.clients]
        servers = list(study.composition.disks)
        rates = {
            ratio: client_rate(placement, clients, servers, figures.nic_bit_s / 8, figures.disk_byte_s)
            for ratio, placement in study.placements.items()
        }
        return expected_break(rates, study.fold.max_loss)

    @property
    def start(self) -> float:
        """The ratio at and below which a search begins: where the last run broke, or else where it is expected to."""
        known = self.last if self.last in self.study.ratios else None
        return known or self.expected_break or self.study.ratios[-1]

    def faults(self, label: str) -> tuple[Fault, ...]:
        """What happens to which nodes in a workload's trials, in the order of time."""
        return chosen(self.study.workload(label).faults, self.study.nodes, self.study.about.seed)

    @property
    def host_figures(self) -> str:
        """What a host has, in words."""
        if self.study.platform.host is None:
            return f"as it is: {self.figures.cores:g} cores, {format_size(self.figures.memory_bytes)} of memory"
        return _host(self.figures).words

    @property
    def real_figures(self) -> str:
        """What the real host has that the emulated one is a scaled one of, in words; "" if it is of none."""
        host = self.study.platform.host
        return ": ".join(filter(None, (host.like, host.real.words))) if host is not None and host.scaled else ""

    @property
    def disk_caveat(self) -> str:
        """What must be known of the real host's disk rate; "" if it is that of its very disk, or the study's own."""
        host = self.study.platform.host
        return "" if host is None else host.disk_caveat

    def cores(self, ratio: float) -> int:
        """The CPUs of the machines that carry hosts at a ratio, all together."""
        hosts = len(self.study.placements[ratio].hosts) if self.place.machines.remote else 1
        return self.machine.cores * hosts


def search_of(prepared: Sequence[Prepared]) -> Search:
    """What says which trials a study runs: those of its grid, or those that its search wants."""
    study, labels = prepared[0].all_of_it, [each.filesystem for each in prepared]
    from pliant.statistics.adaptive import Adaptive, Question  # scipy takes a third of a second

    about, fold = study.about, study.fold
    stays = not prepared[0].place.platform.refolds_live and about.workflow == "dev"
    search: Search
    if about.adaptive and study.ratios[1:]:
        search = Adaptive(
            Question(
                metrics=_asked(study),
                ratios=study.ratios,
                filesystems=labels,
                max_loss=fold.max_loss,
                indifference=fold.zone,
                most=about.most,
                seed=about.seed,
                fixed={w.label: about.fixed for w in study.workloads if w.faults},
                start={each.filesystem: each.start for each in prepared},
                stays=stays,
                baseline=study.baseline,
            )
        )
    else:
        search = Schedule(schedule(study.labels, study.ratios, about.fixed, about.seed, labels, stays))
    return Within(search, about.budget_trials, about.budget_s)


def _asked(study: Study) -> dict[str, tuple[Metric, ...]]:
    """The metrics of each workload without faults that decide how far it folds."""
    return {
        w.label: tuple(m for m in w.driver.metrics(w.options) if asked_for(study.fold.metrics, w.label, m.name))
        for w in study.workloads
        if not w.faults
    }


def _host(figures: HostFigures) -> Host:
    return Host(figures.cores, figures.nic_bit_s, figures.disk_byte_s, figures.memory_bytes)


def figures_of(study: Study, machine: Facts) -> tuple[HostFigures, float]:
    """What a host of the study's platform has on this machine, or on each of such machines, and its scale. Raises
    StudyError."""
    if study.platform.host is None:
        return HostFigures(machine.cores, 0.0, 0.0, machine.memory_bytes), 1.0
    try:
        return host_figures(study.platform.host, 1 if study.platform.real else study.most_hosts, machine)
    except ValueError as error:
        raise StudyError([Problem(study.file, "platform.host.scale", str(error))]) from None


def prepare(study: Study, place: Place | None = None) -> tuple[Prepared, ...]:
    """Everything that can be known before anything is touched, for each file system: budgets, programs, MPI.

    One file system is deployed at a time, so that each has the whole budget. Those that are optional, and lack what
    they need, are left out, unless all are. Raises UserError, StudyError.
    """
    place = place or Place()
    known = place.machines.facts
    found, absent = list[Prepared](), dict[str, str]()
    for each in study.filesystems:
        try:
            found.append(_prepare(study.of(each.label), place, known))
        except StudyError:
            raise
        except UserError as error:
            if not each.table.optional or len(absent) == len(study.filesystems) - 1:
                raise
            absent[each.label] = str(error)
    notes = tuple(f"{label} is left out, as it is optional: {why}" for label, why in absent.items())
    whole = study.without(absent)
    return tuple(replace(each, whole=whole, warnings=(*notes, *each.warnings)) for each in found)


def _prepare(study: Study, place: Place, known: Mapping[str, Facts]) -> Prepared:
    machine, machines = least(known), place.machines
    figures, scale = figures_of(study, machine)
    if problems := _overdrawn(study, figures, place, machine):
        raise StudyError([Problem(study.file, key, sentence) for key, sentence in problems])
    if machine.cgroups_error:
        where = next(name for name, each in known.items() if each.cgroups_error)
        raise UserError(f"hosts cannot be emulated on {where}: {machine.cgroups_error}")
    kernels = Kernels({})
    if not study.deployment:
        hosts = tuple(study.placements.values())
        kernels = choose(study.composition, hosts, figures.memory_bytes, study.platform.kernel, machines)
        _need_kernel(study, kernels, machines)
        if not machines.remote and (wrong := list(too_little(crowd(study), machines.kernel_limit, open_files()))):
            raise UserError("; ".join(wrong))
    _need_programs(study, machines)
    brought = {} if study.deployment else programs_brought(study.composition, machines)
    clients = tuple(node.name for node in study.composition.clients)
    tools = {workload.label: _tools(workload, clients, machines) for workload in study.workloads}
    versions = machines.package_versions(study.composition.packages)
    about_kernels = () if study.platform.real else tuple(kernels.warnings(study.composition))
    about_tables = () if machines.remote or study.deployment else tight(crowd(study), machines.kernel_limit)
    warnings = (*_warnings(study, figures, machine), *about_kernels, *about_tables, *_unlike(known))
    prepared = Prepared(
        study, figures, machine, tools, {}, warnings, scale, versions, kernels=kernels, brought=brought, place=place
    )
    _need_jobs(prepared)
    for workload in study.workloads:
        _rehearse(workload, tools[workload.label], machines)
    mpis = {label: mpi for label in study.labels if (mpi := _mpi(prepared, label)) is not None}
    return replace(prepared, mpi=mpis)


def _overdrawn(study: Study, figures: HostFigures, place: Place, machine: Facts) -> list[tuple[str, str]]:
    """What is promised beyond what the machines have: of all hosts on this one, or of one on each of others."""
    host, machines, with_disk = study.platform.host, place.machines, study.composition.disks
    hosts, disks, up = study.most_hosts, len(with_disk), promises()
    if machines.remote:
        most = max(len(with_disk.keys() & set(each)) for p in study.placements.values() for each in p.hosts)
        hosts, disks, up = 1, most, []
    real = host.real if host is not None and host.scaled else None
    problems = overdrawn(figures, hosts, disks, study.platform.disk_size, machine, up, real)
    if figures.latency_s and not machine.netem and not machines.missing(("tc", "unshare")):
        remedy = f"{machines.having('sch_netem')} (CONFIG_NET_SCH_NETEM), or leave `latency` out"
        problems.append(("platform.host.latency", f"this machine's kernel cannot delay packets (netem): {remedy}"))
    return problems


def _need_jobs(prepared: Prepared) -> None:
    """StudyError where ranks are folded of a workload that runs a program of its own in each client."""
    study, first = prepared.study, prepared.study.composition.clients[0].name
    if study.fold.of == "nodes":
        return
    for label in study.labels:
        if any(phase.each.keys() - {first} for phase in prepared.phases(label)):
            why = f'"ranks" are those of MPI jobs, and {label} runs a program of its own in each client'
            raise StudyError([Problem(study.file, "fold.of", f'{why}; write of = "nodes", or leave {label} out')])


def _unlike(known: Mapping[str, Facts]) -> Iterator[str]:
    """In what machines differ that are to carry hosts alike."""
    for what, word in (("kernel", "kernel"), ("cpu", "CPU"), ("cores", "CPUs"), ("memory_bytes", "GiB of memory")):
        values: dict[object, list[str]] = {}
        for name, each in known.items():
            value = getattr(each, what)
            values.setdefault(round(value / 2**30) if what == "memory_bytes" else value, []).append(name)
        if len(values) > 1:
            yield f"hosts differ in {word}: {'; '.join(f'{fold(names)}: {value}' for value, names in values.items())}"


def try_programs(prepared: Sequence[Prepared]) -> None:
    """See in a node that the programs which lie elsewhere than the machine's own have there what they need. Touches
    nothing where there are none; needs root. Raises UserError, and what making a node does."""
    if any(each.place.machines.remote for each in prepared):  # what is brought along was tried there
        return
    every = dict.fromkeys(path for each in prepared for path in (*each.programs, *each.brought.values()))
    programs = elsewhere(tuple(every))
    environment = {
        name: value for each in prepared for mpi in each.mpi.values() for name, value in mpi.environment.items()
    }
    missing = lacking(programs, environment) if programs else {}
    if missing:
        said = "; ".join(f"{program}: {why}" for program, why in missing.items())
        raise UserError(f"in nodes, which see copies of this machine's disks, programs lack what they need: {said}")


def _need_kernel(study: Study, kernels: Kernels, machines: Machines) -> None:
    """UserError if this machine's kernel cannot be what the file system's nodes need; they all share it."""
    composition = study.composition
    if unknown := machines.missing_filesystems(composition.kernel):
        raise UserError(requires(composition, unknown, machines))
    for name, wanted in composition.kernel_limits.items():
        most, used = machines.kernel_limit(name)
        if most is not None and wanted > most - used:
            raise UserError(
                f"the nodes of {study.filesystem.kind} take {wanted} of {name}, of which this machine's kernel has "
                f"{most} for all, and {used} are taken: sysctl -w {name}={used + 2 * wanted}"
            )
    for role in composition.one_per_kernel:
        if role not in kernels.own and study.filesystem.roles.get(role, 0) > 1:
            raise UserError(
                f"a kernel carries one {role} of {study.filesystem.kind}, and all nodes share this machine's: "
                f'take {role} = 1 in [filesystem.roles], or kernels of their own, kernel = "uml" in [platform]'
            )


def _need_programs(study: Study, machines: Machines) -> None:
    """UserError, with how to install them, if programs of the machine, the file system or a workload are not there."""
    absent, lacking = machines.missing(tuple(PROGRAMS)), dict[str, list[str]]()
    if not study.deployment:  # else it is there already
        lacking = machines.missing(packaged(study.composition))
    sources = {program: how for program, how in study.composition.sources.items() if program in lacking}
    packages = {PROGRAMS[program] for program in absent}
    packages |= set(study.composition.packages if lacking.keys() - sources.keys() else ())
    for workload in study.workloads:
        unfound = machines.missing(programs_of(workload))
        lacking |= unfound
        packages |= set(getattr(workload.driver, "packages", ()) if unfound else ())
    if absent or lacking:
        by_place: dict[str, list[str]] = {}
        for name, where in (absent | lacking).items():
            by_place.setdefault(", ".join(where), []).append(name)
        told = "; ".join(f"missing on {where}: {', '.join(names)}" for where, names in by_place.items())
        remedies = [f"install with: apt-get install {' '.join(sorted(packages))}"] if packages else []
        remedies += [f"{program} is in no package of Debian: {how}" for program, how in sources.items()]
        raise UserError("; ".join((told, *(remedies or ["install what has them"]))))


def programs_of(workload: LabelledWorkload) -> tuple[str, ...]:
    """The programs that a workload cannot do without, for want of a built-in kernel."""
    programs = getattr(workload.driver, "programs", None)
    return () if programs is None else tuple(programs(workload.options))


def _rehearse(workload: LabelledWorkload, tools: Toolbox, machines: Machines) -> None:
    """Let a workload's real program look at what it will be given, if it can; UserError with what it refuses."""
    rehearsal = getattr(workload.driver, "rehearsal", None)
    tried = None if rehearsal is None else rehearsal(workload.options, tools)
    if tried is None:
        return
    try:
        machines.run(tried.argv, timeout_s=20, stdin=tried.stdin).check()
    except CommandFailed as error:
        said = " | ".join((error.stderr.strip() or error.stdout.strip()).splitlines()[:4])
        raise UserError(f"workload {workload.label}: {tried.argv[0]} refuses it: {said or error}") from error


def _mpi(prepared: Prepared, label: str) -> mpi_.Mpi | None:
    """What starts a workload's MPI jobs; None if it has none. Raises UserError."""
    programs = dict.fromkeys(phase.argv[0] for phase in prepared.phases(label) if not phase.each)
    asked, machines, python = prepared.study.mpi.mpiexec, prepared.place.machines, prepared.tools[label].python
    paths = [None if program == python else machines.which(program) or program for program in programs]
    found = [mpi_.find(asked, path, machines) for path in paths]
    if any(mpi != found[0] for mpi in found):
        raise UserError(f"workload {label}: {' and '.join(programs)} were built with different MPIs; use one of them")
    return found[0] if found else None


def _tools(workload: LabelledWorkload, clients: tuple[str, ...], machines: Machines) -> Toolbox:
    """What a workload has to work with; UserError if its real program cannot do what the study wants."""
    program, unfit = _program(workload, machines), getattr(workload.driver, "unfit", None)
    own = machines.own
    tools = Toolbox(own.python, program, clients)
    tools = tools if own.kernels is None else replace(tools, kernels=own.kernels)
    if program is None or unfit is None:
        return tools
    tools = replace(tools, help=machines.said((program, *getattr(workload.driver, "asks", ()))))
    if why := unfit(workload.options, tools):
        raise UserError(f"workload {workload.label}: {program}: {why}")
    return tools


def _program(workload: LabelledWorkload, machines: Machines) -> str | None:
    """The real benchmark that a workload names or that is on the user's PATH; None for the built-in kernel."""
    named: str | None = getattr(workload.options, "program", None)
    if named is not None:
        if machines.named(named) is None:
            raise UserError(f"workload {workload.label}: {named} is not a program; install it, or leave `program` out")
        return named
    name = getattr(workload.driver, "program", "")
    return machines.named(name) if name else None


def _warnings(study: Study, figures: HostFigures, machine: Facts) -> tuple[str, ...]:
    found = list(study.composition.warnings)
    hosts = 0 if study.platform.real else study.most_hosts
    share = fullest(hosts, figures.cores, dict.fromkeys(range(machine.cores), 0.0)) if hosts else 0.0
    if share > 0.95:
        found.append(
            f"one of this machine's CPUs is promised to hosts by {share:.0%}, which leaves little for the kernel's own "
            f"work; up to 90 % is safer"
        )
    if study.about.most < 2:
        found.append(
            "with one repetition there are no intervals, so every ratio stays undecided; repetitions = 3 or more"
        )
    found += [f"{label} is not run, as fold.metrics asks for none of its metrics" for label in study.left_out]
    for workload in study.workloads:
        faults = chosen(workload.faults, study.nodes, study.about.seed)
        notes: Callable[[BaseModel], Sequence[str]] = getattr(workload.driver, "notes", lambda options: ())
        said = (*notes(workload.options), *fault_warnings(faults, study.composition))
        found += [f"{workload.label}: {sentence}" for sentence in said]
    return tuple(found)
