"""The libraries that programs of a tree find or lack, as the dynamic linker searches them."""

import io
import tarfile
from pathlib import Path

import pytest

from rootfs.elf.errors import missing_libraries
from rootfs.elf.linkage import LinkageCheck
from rootfs.tree.member import Member, from_tar, from_tree
from tests.support.elves import ARM64, elf

LINKER = "lib64/ld.so"
LIBC = elf(soname="libc.so", provides=["libc.so", "V1", "V2"])


def tree(files, links=None):
    """Members of files by path, and of symbolic links by path."""
    members = [Member(path).with_content(data) for path, data in files.items()]
    return members + [Member(path, kind=tarfile.SYMTYPE, link=target) for path, target in (links or {}).items()]


def lacking(files, links=None, library_path=""):
    closure = LinkageCheck(library_path)
    for member in closure.observe(tree(files, links)):
        assert member.content is None or member.content.read() == files[member.path]
    return [str(each) for each in closure.missing()]


def program(*needed, **more):
    return elf(*needed, interpreter=f"/{LINKER}", **more)


BASE = {LINKER: elf(soname="ld.so"), "lib/libc.so": LIBC}

HOSTILE = {
    "interpreter": elf(interpreter="/lib64/\udcff\x1b[31m"),
    "library": program("lib\udcff\x1b[31m.so"),
    "version": program("libc.so", requires={"libc.so": ["\udcff\x1b"]}),
    "broken": b"\x7fELF",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_names_in_hostile_programs_are_escaped(data):
    [said] = lacking({**BASE, "bin/\udcff\x1b": data})
    assert said.startswith(r"/bin/\xff\x1b ")
    assert said.isprintable()


ENDS = ["pthread_exit"]

FOUND = {
    "in a usual folder": ({"bin/a": program("libc.so")}, {}),
    "in the architecture's folder": (
        {"bin/a": program("libm.so"), "usr/lib/x86_64-linux-gnu/libm.so": elf(soname="libm.so")},
        {},
    ),
    "through a linked folder": (
        {"usr/bin/a": program("libm.so"), "usr/lib/m/libm.so.6": elf(soname="libm.so")},
        {"lib64x": "usr/lib", "usr/lib/libm.so": "/lib64x/m/libm.so.6"},
    ),
    "by RUNPATH from where it is": (
        {"opt/bin/a": program("libx.so", runpath="$ORIGIN/../lib"), "opt/lib/libx.so": elf()},
        {},
    ),
    "by RUNPATH from where it really is": (
        {"opt/bin/a": program("libx.so", runpath="${ORIGIN}/../lib"), "opt/lib/libx.so": elf()},
        {"usr/bin/a": "../../opt/bin/a"},
    ),
    "by RPATH": ({"bin/a": program("libx.so", rpath="/opt:/srv"), "srv/libx.so": elf()}, {}),
    "by a path": ({"bin/a": program("/opt/libx.so"), "opt/libx.so": elf()}, {}),
    "by ld.so.conf and its cache": (
        {
            "bin/a": program("libx.so"),
            "etc/ld.so.conf": b"include /etc/ld.so.conf.d/*.conf\n",
            "etc/ld.so.conf.d/x.conf": b"# comment\n/opt/x\n",
            "etc/ld.so.cache": b"cache",
            "opt/x/libx.so": elf(),
        },
        {},
    ),
    "by musl's linker": (
        {
            "bin/a": elf("libx.so", interpreter="/lib/ld-musl-x86_64.so.1"),
            "lib/ld-musl-x86_64.so.1": elf(),
            "etc/ld-musl-x86_64.path": b"/opt\n/srv\n",
            "srv/libx.so": elf(),
        },
        {},
    ),
    "where what opens it has it loaded": (
        {"opt/plugin.so": elf("libjvm.so"), "opt/server/libjvm.so": elf(soname="libjvm.so")},
        {},
    ),
    "with versions that nobody numbers": (
        {"bin/a": program("libx.so", requires={"libx.so": ["X1"]}), "lib/libx.so": elf()},
        {},
    ),
    "with the versions it has": ({"bin/a": program("libc.so", requires={"libc.so": ["V1", "V2"]})}, {}),
    "for a thread that ends": (
        {"bin/a": program("libc.so.6", calls=ENDS), "lib/libc.so.6": elf(), "lib/libgcc_s.so.1": elf()},
        {},
    ),
    "for a thread that ends, in musl itself": ({"bin/a": program("libc.so", calls=ENDS)}, {}),
    "in the C library, which ends its threads": ({"lib/libc.so.6": elf(soname="libc.so.6", calls=ENDS)}, {}),
    "of no need": ({"bin/static": elf(), "etc/motd": b"\x7fEL", "empty": b""}, {}),
}


@pytest.mark.parametrize(("files", "links"), FOUND.values(), ids=FOUND)
def test_libraries_that_the_linker_finds_are_found(files, links):
    assert lacking(BASE | files, links) == []


def test_a_folder_that_the_environment_names_is_searched():
    files = BASE | {"bin/a": program("libx.so"), "opt/libx.so": elf()}
    assert lacking(files, library_path="/srv:/opt") == []
    assert lacking(files) == ["/bin/a needs libx.so"]


LACKING = {
    "what the C library opens for a thread that ends": (
        {"bin/a": program("libc.so.6", calls=ENDS), "lib/libc.so.6": elf()},
        {},
        ["/bin/a needs libgcc_s.so.1"],
    ),
    "what the C library opens for one that is cancelled": (
        {"lib/liba.so": elf("libc.so.6", calls=["x", "pthread_cancel"]), "lib/libc.so.6": elf()},
        {},
        ["/lib/liba.so needs libgcc_s.so.1"],
    ),
    "nowhere": ({"bin/a": program("libx.so")}, {}, ["/bin/a needs libx.so"]),
    "no interpreter": ({"bin/a": elf("libc.so", interpreter="/lib/ld.so.9")}, {}, ["/bin/a needs /lib/ld.so.9"]),
    "of another architecture": (
        {"bin/a": program("libx.so"), "lib/libx.so": elf(machine=ARM64)},
        {},
        ["/bin/a needs libx.so"],
    ),
    "of an older version": (
        {"bin/a": program("libc.so", requires={"libc.so": ["V2", "V3", "V4"]})},
        {},
        ["/bin/a needs V3, V4 of libc.so"],
    ),
    "a dangling link": ({"bin/a": program("libx.so")}, {"lib/libx.so": "libx.so.1"}, ["/bin/a needs libx.so"]),
    "a circle of links": (
        {"bin/a": program("libx.so")},
        {"lib/libx.so": "liby.so", "lib/liby.so": "libx.so"},
        ["/bin/a needs libx.so"],
    ),
    "where only a program would have to look": (
        {"bin/a": program("libx.so"), "opt/libx.so": elf()},
        {},
        ["/bin/a needs libx.so"],
    ),
    "in a folder that the linker has no cache of": (
        {"bin/a": program("libx.so"), "etc/ld.so.conf": b"/opt\n", "opt/libx.so": elf()},
        {},
        ["/bin/a needs libx.so"],
    ),
    "by a library": (
        {"lib/libx.so": elf("liby.so", "libz.so")},
        {},
        ["/lib/libx.so needs liby.so", "/lib/libx.so needs libz.so"],
    ),
    "in what is broken": ({"bin/a": b"\x7fELF"}, {}, ["/bin/a is broken: it has no known class or byte order"]),
}


@pytest.mark.parametrize(("files", "links", "said"), LACKING.values(), ids=LACKING)
def test_missing_libraries_are_named(files, links, said):
    assert lacking(BASE | files, links) == said


def test_a_hard_link_is_the_file():
    members = [
        *tree(BASE | {"opt/libx.so.1": elf()}),
        Member("lib/libx.so", kind=tarfile.LNKTYPE, link="opt/libx.so.1"),
    ]
    closure = LinkageCheck()
    list(closure.observe([*members, *tree({"bin/a": program("libx.so")})]))
    assert closure.missing() == []


def test_a_tar_and_a_folder_give_the_same_result(tmp_path):
    files = BASE | {"bin/a": program("libx.so"), "data": b"x" * 100_000}
    for path, data in files.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_bytes(data)
    with tarfile.open(tmp_path / "tar", "w") as archive:
        archive.add(tmp_path / "tree", ".")

    def read(members):
        closure, content = LinkageCheck(), {}
        for member in closure.observe(members):
            if member.content:
                content[member.path] = member.content.read()
        return content, [str(each) for each in closure.missing()]

    with (tmp_path / "tar").open("rb") as stream:
        assert read(from_tar(stream)) == read(from_tree(tmp_path / "tree")) == (files, ["/bin/a needs libx.so"])


def test_each_missing_library_of_a_real_program_is_named():
    """`ls` of this machine with all it is linked with: without any one of these, that one is named."""
    files, links, waiting = {}, {}, [Path("/bin/ls")]
    while waiting:
        path = waiting.pop().resolve()
        if str(path)[1:] in files:
            continue
        files[str(path)[1:]] = path.read_bytes()
        closure = LinkageCheck()
        list(closure.observe(tree({str(path)[1:]: files[str(path)[1:]]})))
        for each in closure.missing():
            places = [Path("/", folder, each.library.lstrip("/")) for folder in ("", *FOLDERS)]
            place = next(place for place in places if place.is_file())
            links[str(place)[1:]] = str(place.resolve())
            waiting.append(place)
    links = {path: target for path, target in links.items() if f"/{path}" != target}
    assert lacking(files, links) == []
    for path in set(files) - {str(Path("/bin/ls").resolve())[1:]}:
        names = {Path(link).name for link, target in links.items() if target == f"/{path}"} | {Path(path).name}
        without = lacking({name: data for name, data in files.items() if name != path}, links)
        assert any(line.endswith(name) for line in without for name in names), (path, without)


FOLDERS = ("lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib")


def test_the_content_of_a_stream_is_passed_on_whole():
    member = Member("a", size=len(LIBC), content=io.BytesIO(LIBC))
    [passed] = LinkageCheck().observe([member])
    assert passed.content.read() == LIBC


def test_the_error_has_the_line_to_paste_for_an_optional_plugin():
    plugin = "usr/lib/x86_64-linux-gnu/tc/m_xt.so"
    said = str(missing_libraries("web", [(plugin, f"/{plugin} needs libxtables.so.12", "libxtables12")]))
    assert "Add the packages: libxtables12." in said
    assert f"`unlinked: [/{plugin}]`" in said
    many = [(f"opt/{number}", f"/opt/{number} needs liba.so", "") for number in range(20)]
    assert "name them in `unlinked`" in str(missing_libraries("web", many))
    assert "… and 10 more" in str(missing_libraries("web", many))
