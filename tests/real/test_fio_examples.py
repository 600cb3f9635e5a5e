"""fio's own examples, of 3.33: each is accepted, accepted with a note, or refused with a reason.

The files are those of Debian's package fio-examples.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from pliant.workloads.fio import Fio, FioOptions
from pliant.workloads.model import Toolbox

EXAMPLES = Path("/usr/share/doc/fio/examples")
TABLE = {
    "without directory": """
        1mbs_clients aio-read ssd-test
    """,
    "accepted": """
        backwards-read dedupe-global fio-rand-RW fio-rand-read fio-rand-write fio-seq-RW fio-seq-read
        fio-seq-write fixed-rate-submission fsx iometer-file-access-server poisson-rate-submission rand-zones
        tiobench-example
    """,
    "a device, and what is measured is files": """
        basic-verify cmdprio-bssplit cmdprio-percentage cross-stripe-verify disk-zone-profile jesd219
        latency-profile numa ssd-steadystate steadystate zbd-rand-write zbd-seq-read
    """,
    "write a name without a directory": """
        butterfly exitwhat flow waitfor
    """,
    "ioengine cpp_null moves no data": """
        cpp_null
    """,
    "ioengine cpuio moves no data": """
        cpuio
    """,
    "ioengine dev-dax moves no data": """
        dev-dax
    """,
    "ioengine dfs moves no data": """
        dfs
    """,
    "ioengine e4defrag moves no data": """
        e4defrag e4defrag2
    """,
    "files are not trimmed": """
        enospc-pressure
    """,
    "ioengine exec moves no data": """
        exec
    """,
    "ioengine falloc moves no data": """
        falloc
    """,
    "ioengine filecreate moves no data": """
        filecreate-ioengine
    """,
    "ioengine filedelete moves no data": """
        filedelete-ioengine
    """,
    "ioengine filestat moves no data": """
        filestat-ioengine
    """,
    "ioengine ftruncate moves no data": """
        ftruncate
    """,
    "ioengine gfapi moves no data": """
        gfapi
    """,
    "ioengine rdma moves no data": """
        gpudirect-rdmaio-client gpudirect-rdmaio-server rdmaio-client rdmaio-server
    """,
    "ioengine http moves no data": """
        http-s3-crypto http-s3-storage-class http-s3 http-swift http-webdav
    """,
    "ioengine ime_psync moves no data": """
        ime
    """,
    "ioengine libcufile moves no data": """
        libcufile-cufile libcufile-posix
    """,
    "ioengine libhdfs moves no data": """
        libhdfs
    """,
    "ioengine libiscsi moves no data": """
        libiscsi
    """,
    "ioengine libpmem moves no data": """
        libpmem
    """,
    "ioengine librpma_apm_client moves no data": """
        librpma_apm-client
    """,
    "ioengine librpma_apm_server moves no data": """
        librpma_apm-server
    """,
    "ioengine librpma_gpspm_client moves no data": """
        librpma_gpspm-client
    """,
    "ioengine librpma_gpspm_server moves no data": """
        librpma_gpspm-server
    """,
    "ioengine libzbc moves no data": """
        libzbc-rand-write libzbc-seq-read
    """,
    "ioengine mtd moves no data": """
        mtd
    """,
    "ioengine nbd moves no data": """
        nbd
    """,
    "ioengine net moves no data": """
        netio netio_multicast
    """,
    "ioengine nfs moves no data": """
        nfs
    """,
    "ioengine null moves no data": """
        null zipf
    """,
    "ioengine pmemblk moves no data": """
        pmemblk
    """,
    "ioengine rados moves no data": """
        rados
    """,
    "ioengine rbd moves no data": """
        rbd
    """,
    "ioengine sg moves no data": """
        sg_verify-fail sg_verify sg_write_same_ndob
    """,
    "how large its files are": """
        surface-scan
    """,
    "ioengine io_uring_cmd moves no data": """
        uring-cmd-ng uring-cmd-zoned
    """,
    "${FIO_RW} is not set in nodes": """
        xnvme-compare xnvme-zoned
    """,
}
OUTCOMES = {name: outcome for outcome, names in TABLE.items() for name in names.split()}


def test_every_example_is_in_the_table():
    assert EXAMPLES.is_dir(), "apt-get install fio-examples"
    assert {path.stem for path in EXAMPLES.glob("*.fio")} == set(OUTCOMES)


@pytest.mark.parametrize(("name", "outcome"), OUTCOMES.items())
def test_an_example(name, outcome):
    text = (EXAMPLES / f"{name}.fio").read_text()
    try:
        options = FioOptions(jobs=text)
    except ValidationError as error:
        assert outcome in str(error), error
        return
    notes = ", ".join(note.partition(" ")[0] for note in Fio.notes(options))
    assert outcome == (f"without {notes}" if notes else "accepted")
    tried = Fio.rehearsal(options, Toolbox("python3", "fio"))
    done = subprocess.run(tried.argv, input=tried.stdin, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
