"""An unmodified client of Python's registry against one member: keys, transactions, watches, leases, locks, users.

Usage: clients.py BINARY
"""

import asyncio
import io
import pathlib
import socket
import subprocess
import sys
import tempfile

import aetcd

PATIENCE = 30


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Member:
    """A process of `raftsman store`."""

    def __init__(self, binary):
        self.binary = binary

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory()
        self.port, peer = port(), port()
        url, peer_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peer}"
        flags = ["--listen-client-urls", url, "--advertise-client-urls", url, "--log-level", "error"]
        flags += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        flags += ["--name", "a", "--initial-cluster", f"a={peer_url}", "--bcrypt-cost", "4"]
        flags += ["--data-dir", str(pathlib.Path(self.dir.name) / "a")]
        self.process = subprocess.Popen([self.binary, "store", *flags], stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        assert said.startswith("ready"), said
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.dir.cleanup()

    def client(self, **options):
        return aetcd.Client("127.0.0.1", self.port, timeout=PATIENCE, **options)


async def keys(member):
    async with member.client() as client:
        first = await client.put(b"/k/1", b"one")
        await client.put(b"/k/2", b"two")
        found = await client.get(b"/k/1")
        assert (found.value, found.version, found.create_revision) == (b"one", 1, first.header.revision)
        assert await client.get(b"/k/none") is None
        assert [kv.value for kv in await client.get_prefix(b"/k/")] == [b"one", b"two"]
        listed = await client.get_range(b"/k/", b"/k0", sort_order="descend", sort_target="key")
        assert ([kv.key for kv in listed], listed.count) == ([b"/k/2", b"/k/1"], 2)
        assert (await client.delete(b"/k/2", prev_kv=True)).prev_kv.value == b"two"
        assert await client.delete(b"/k/2") is None
        assert await client.replace(b"/k/1", b"one", b"uno") and not await client.replace(b"/k/1", b"one", b"x")
        revision = (await client.put(b"/k/1", b"eins")).header.revision
        await client.compact(revision)
        assert (await client.delete_prefix(b"/k/")).deleted == 1


async def transactions(member):
    async with member.client() as client:
        await client.put(b"/t/1", b"1")
        txn = client.transactions
        done, answers = await client.transaction(
            compare=[txn.value(b"/t/1") == b"1", txn.version(b"/t/1") > 0, txn.create(b"/t/2") == 0],
            success=[txn.put(b"/t/2", b"2"), txn.get(b"/t/2")],
            failure=[txn.delete(b"/t/1")],
        )
        assert done and answers[1][0][0] == b"2", answers
        done, _ = await client.transaction(
            compare=[txn.value(b"/t/1") > b"1"], success=[], failure=[txn.delete(b"/t/1")]
        )
        assert not done and await client.get(b"/t/1") is None


async def watches(member):
    async with member.client() as client:
        begin = (await client.put(b"/w/0", b"0")).header.revision
        watch = await client.watch_prefix(b"/w/", start_revision=begin, prev_kv=True)
        only = await client.watch_prefix(b"/w/", kind=aetcd.EventKind.DELETE)
        for number in range(100):
            await client.put(b"/w/0", str(number + 1).encode())
        await client.delete(b"/w/0")
        seen = []
        async for event in watch:
            seen.append(event)
            if event.kind == aetcd.EventKind.DELETE:
                break
        values = [event.kv.value for event in seen[:-1]]
        assert values == [str(number).encode() for number in range(101)], values
        revisions = [event.kv.mod_revision for event in seen]
        assert revisions == list(range(begin, begin + 102)), revisions
        assert seen[-1].prev_kv.value == b"100"
        await watch.cancel()
        async for event in only:
            assert event.kind == aetcd.EventKind.DELETE
            break
        await only.cancel()


async def leases(member):
    async with member.client() as client:
        lease = await client.lease(2)
        await client.put(b"/l/1", b"x", lease=lease)
        assert await lease.keys() == [b"/l/1"] and await lease.granted_ttl() == 2
        for _ in range(4):
            await asyncio.sleep(1)
            await lease.refresh()
        assert await client.get(b"/l/1") is not None, "it was refreshed"
        gone = await client.watch_once(b"/l/1", kind=aetcd.EventKind.DELETE, timeout=PATIENCE)
        assert gone.kv.key == b"/l/1" and await client.get(b"/l/1") is None
        lease = await client.lease(600)
        await client.put(b"/l/2", b"x", lease=lease)
        await lease.revoke()
        assert await client.get(b"/l/2") is None


async def locks(member):
    async with member.client() as one, member.client() as other:
        inside = 0

        async def work(client):
            nonlocal inside
            for _ in range(5):
                lock = client.lock(b"/lock", ttl=30)
                assert await lock.acquire(timeout=PATIENCE)
                inside += 1
                assert inside == 1, "both are inside"
                await asyncio.sleep(0.01)
                inside -= 1
                await lock.release()

        await asyncio.gather(work(one), work(other))
        async with one.lock(b"/lock", ttl=30):
            assert not await other.lock(b"/lock", ttl=30).acquire(timeout=0)


async def maintenance(member):
    async with member.client() as client:
        status = await client.status()
        assert status.version.startswith("3.") and status.db_size > 0 and status.raft_index > 0
        members = [found async for found in client.members()]
        assert [found.name for found in members] == ["a"], members
        assert [alarm async for alarm in client.list_alarms()] == []
        await client.defragment()
        await client.put(b"/s", b"x" * 1000)
        copy = io.BytesIO()
        await client.snapshot(copy)
        assert len(copy.getvalue()) % 512 == 32


async def main(binary):
    with Member(binary) as member:
        for test in (keys, transactions, watches, leases, locks, maintenance):
            await asyncio.wait_for(test(member), 3 * PATIENCE)
            print(f"python: {test.__name__} pass", flush=True)


asyncio.run(main(sys.argv[1]))
