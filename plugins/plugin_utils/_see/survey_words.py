# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was found of the hosts' underlay: a line a host, and sentences of what is not as on all. Pure. PRIVATE."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.errors import list_few
from ansible_collections.agentless.overlay.plugins.plugin_utils._plan.values import as_list
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.proposal import PUBLIC, Proposal
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.survey import Answers, Contact, Sights, Surveyed
from ansible_collections.agentless.overlay.plugins.plugin_utils._see.words import count_noun, join_names

# No cell has a space: what shows the lines may fold them there.
_HEADS = ("host", "address", "device", "MTU", "ansible_host", "public", "Docker", "restart", "containers")
PARTIAL = (
    "Not all hosts of the group told something: only all of them together tell which subnets are whole, and who has to "
    "announce another address. What is on record of a host that still has its address stays as it is."
)


def list_table_lines(contacts: Sequence[Contact], made: Proposal, answers: Answers, restarts: Answers) -> list[str]:
    """Aligned, for a terminal."""
    rows = [_HEADS]
    for contact in sorted(contacts, key=lambda contact: contact.name):
        one = made.surveyed.get(contact.name)
        if one is None:
            rows.append((contact.name, "?", "?", "?", _show_contact(contact), "?", "?", "?", "?"))
            continue
        chosen = [one.chosen[version] for version in made.families[contact.name]]
        docker, restart = answers[contact.name]["docker"], restarts.get(contact.name, {})
        rows.append(
            (
                contact.name,
                _join_cell(f"{each.address}/{each.prefix}" for each in chosen),
                _join_cell(each.device for each in chosen),
                _join_cell(str(each.mtu) for each in chosen),
                _show_contact(contact),
                _join_cell(map(str, as_list(made.values.get(contact.name, {}).get(PUBLIC, contact.given.get(PUBLIC))))),
                (docker["version"] or "stopped") if docker["installed"] else "-",
                "?" if restart.get("problem") else "yes" if restart.get("restart_required") else "-",
                str(len(docker["containers"]) or "-"),
            )
        )
    widths = [max(len(row[number]) for row in rows) for number in range(len(_HEADS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _join_cell(values: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(values)) or "-"


def _show_contact(contact: Contact) -> str:
    addresses = list(contact.addresses.values())
    if not addresses or contact.text in addresses:
        return contact.text
    return f"{contact.text}={','.join(addresses)}"


def list_survey_sentences(
    contacts: Sequence[Contact], made: Proposal, answers: Answers, problems: Mapping[str, str], restarts: Answers
) -> list[str]:
    return [
        *_describe_unasked(problems),
        *_describe_families(made),
        *_describe_sights(made),
        *_describe_contacts(contacts, made),
        *_describe_mtus(made),
        *_describe_others(made),
        *_describe_differing(made),
        *_describe_engines(answers, restarts),
    ]


def _describe_unasked(problems: Mapping[str, str]) -> Iterator[str]:
    """Those that did not answer, by why."""
    for why, names in _group_names((" ".join(why.split()), name) for name, why in problems.items()):
        yield f"Nothing is known of {join_names(names)}: {why.rstrip('.')}. Nothing is written of {_it_or_them(names)}."


def _describe_families(made: Proposal) -> Iterator[str]:
    """What no ping can tell: hosts without an address for the others, or of another family than theirs."""
    kinds = made.list_kinds()
    without = kinds.pop((), [])
    if without:
        them = _it_or_them(without)
        yield (
            f"No address of the family by which the inventory knows {them} is on {list_few(without)}. Nothing is written of "
            f"{them}. Give {them} one, or set overlay_underlay_ip to one there."
        )
    if any(not set(kind) & set(other) for kind in kinds for other in kinds):
        parts = [f"{' and '.join(f'IPv{one}' for one in kind)} on {list_few(names)}" for kind, names in sorted(kinds.items())]
        yield (
            f"No family of addresses joins all hosts: {'; '.join(parts)}. A network needs one that all its members have: set "
            "overlay_underlay_ip to a list of one of each where a host has both."
        )


def _describe_sights(made: Proposal) -> Iterator[str]:
    lost = made.list_lost()
    if lost:
        yield (
            f"{_count_pairs(lost, 'do')} not answer each other's pings: {_join_pairs(lost)}. Look at what is between them: "
            "routers, firewalls, and cloud rules, which have to let the networks' packets pass too."
        )
    for version, sights in made.sights.items():
        used = made.list_users(version)
        for subnet, pairs in sights.apart.items():
            apart = [pair for pair in pairs if used.issuperset(pair)]
            if apart:
                yield (
                    f"{_count_pairs(apart, 'say')} that they are on one subnet, {subnet}, and do not see each other directly: "
                    f"{_join_pairs(apart, sights)}. So no prefix length is proposed for "
                    f"{join_names(name for name in sights.segments[subnet] if name in used)}, which can have no "
                    "routes without a tunnel."
                )
        yield from _describe_one_sided(made, sights)


def _describe_one_sided(made: Proposal, sights: Sights) -> Iterator[str]:
    """A host that is to announce another address, while some reach its own through a router and would be sent to from there."""
    for name in sights.hosts:
        if PUBLIC not in made.values.get(name, {}) or not sights.needs_public(name):
            continue
        own = sights.hosts[name].chosen[sights.version].subnet
        near = [
            other
            for other, one in sights.hosts.items()
            if sights.finds(other, name) and (one.chosen[sights.version].subnet != own or own in sights.apart)
        ]
        if near:
            yield (
                f"{join_names(near)} and {name} reach each other without the NAT and are not on one subnet: give them one "
                "overlay_underlay_subnet that holds their addresses, so that they use these."
            )


def _describe_contacts(contacts: Sequence[Contact], made: Proposal) -> Iterator[str]:
    foreign: dict[str, list[str]] = defaultdict(list)
    known = {one.name for one in contacts if PUBLIC in one.given}
    for one in made.surveyed.values():
        for version, address in one.foreign.items() if one.name not in known else ():
            foreign[_judge_foreign(made, one, version, address)].append(f"{one.name} ({address})")
    for what, names in foreign.items():
        yield f"Ansible reaches {join_names(names)} by an address that the host itself does not have: {what}."
    nowhere = [one.text for one in contacts if not one.addresses and one.name in made.surveyed]
    if nowhere:
        yield f"Not resolved on this machine: {join_names(nowhere)}. Where these hosts are, their own routes tell."


def _judge_foreign(made: Proposal, one: Surveyed, version: int, address: str) -> str:
    sights = made.sights[version]
    if address in made.shared:
        return "several hosts have that one, as behind a jump host or by ports, so that it is no overlay_public_ip"
    if one.name not in sights.hosts or not sights.needs_public(one.name):
        return "a NAT or a jump host; the other hosts reach its own, so that it needs no overlay_public_ip"
    heard = any(sights.answers(here, address) for here in sights.hosts if here != one.name)
    if heard:
        return "a NAT (1:1); the other hosts do not reach its own, so that it is overlay_public_ip"
    return (
        "the other hosts do not reach its own, so that it is proposed as overlay_public_ip, but no ping to it is answered: see "
        "that a NAT (1:1) leads from there to the host and lets the networks' packets pass"
    )


def _describe_mtus(made: Proposal) -> Iterator[str]:
    sizes = _group_names(
        (str(made.surveyed[name].chosen[families[0]].mtu), f"{name} ({made.surveyed[name].chosen[families[0]].device})")
        for name, families in made.families.items()
        if families
    )
    if len(sizes) > 1:
        # The commonest is named by its number.
        common = max(sizes, key=lambda pair: len(pair[1]))[0]
        parts = [
            f"{size} on {count_noun(len(names), 'host') if size == common and len(names) > 2 else join_names(names)}"
            for size, names in sorted(sizes, key=lambda pair: int(pair[0]))
        ]
        yield f"MTUs differ: {'; '.join(parts)}. A network's is what the smallest of its members leaves."
    for sights in made.sights.values():
        narrow = sights.list_narrow()
        if narrow:
            size = min(size for _here, _there, size in narrow)
            pairs = sorted({tuple(sorted((here, there))) for here, there, _size in narrow})
            yield f"Less passes than the devices take, {size} bytes at the least, between {_join_pairs(pairs)}."


def _describe_others(made: Proposal) -> Iterator[str]:
    """Hosts that have more than one address: which is used, and why."""
    found: list[tuple[str, str]] = []
    for one in made.surveyed.values():
        if not one.others or 4 not in one.chosen:
            continue
        chosen = one.chosen[4]
        some = ", ".join(sorted({other["device"] for other in one.others} - {chosen.device}))
        shown = f"{one.name} ({chosen.address}, not {', '.join(other['address'] for other in one.others)})"
        used = f"{chosen.device} is used, and not {some}" if some else "the first is used"
        found.append((f"{used}, as {chosen.why}", shown))
    for why, names in _group_names(found):
        yield f"Several addresses: {join_names(names)}: {why}. Set overlay_underlay_ip where another one is meant."


def _describe_differing(made: Proposal) -> Iterator[str]:
    for name, variable, given, value in made.differing:
        yield f"{name}: {variable} is {given} in the inventory, which counts; found was {value}."


def _describe_engines(answers: Answers, restarts: Answers) -> Iterator[str]:
    without = [name for name, answer in answers.items() if not answer["docker"]["installed"]]
    if without:
        yield f"No Docker on {join_names(without)}."
    stopped = [name for name, one in answers.items() if one["docker"]["installed"] and not one["docker"]["version"]]
    if stopped:
        yield f"Docker does not run on {join_names(stopped)}."
    due = [name for name, one in restarts.items() if one.get("restart_required")]
    if due:
        yield f"Docker has to restart for its address on {join_names(due)}."
        used = [f"{name} ({', '.join(restarts[name]['containers'])})" for name in due if restarts[name].get("containers")]
        if used:
            yield f"With containers, which a restart stops and starts: {join_names(used)}."
    for why, names in _group_names((one["problem"], name) for name, one in restarts.items() if one.get("problem")):
        yield f"Whether Docker has to restart is not known on {join_names(names)}: {why}."


def _group_names(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return list(found.items())


def _it_or_them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _count_pairs(pairs: Sequence[Any], verb: str) -> str:
    return f"Two hosts {verb}" if len(pairs) == 1 else f"{count_noun(len(pairs), 'pair')} of hosts {verb}"


def _join_pairs(pairs: Sequence[Any], sights: Sights | None = None) -> str:
    return join_names(f"{one} and {other}{_show_sight(sights, one, other)}" for one, other in pairs)


def _show_sight(sights: Sights | None, one: str, other: str) -> str:
    if sights is None:
        return ""
    found = sights.sights.get((one, other)), sights.sights.get((other, one))
    return f" ({' and '.join(dict.fromkeys(sight.value for sight in found if sight is not None))})"
