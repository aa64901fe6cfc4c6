"""Names: of flows, tasks and runs. Pure text; a name is worked out from an id, never drawn."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidNameError

BANNED: Final = "/%&><"

ADJECTIVES: Final[tuple[str, ...]] = tuple(
    (
        "agile amber ancient azure bold brave breezy bright brisk calm candid cheerful civil clear clever cobalt "
        "coral cosmic crimson crisp curious daring deft dusky eager early earnest easy elder fabled fair fearless "
        "fleet fluent fond frank fresh frosty gentle gilded glad golden graceful grand hardy hazel hearty honest "
        "humble indigo ivory jade jolly keen kind lively loyal lucid lunar maroon mellow merry mighty mild mindful "
        "misty modest mossy neat nimble noble olive opal patient pearly placid plucky polite proud quick quiet "
        "radiant rapid ready regal roaming robust rosy royal ruby rustic sage sandy scarlet serene sharp shy silent "
        "silver sleek smart snowy solar solid spry stable steady still stormy sturdy sunny swift tidy topaz tranquil "
        "true trusty upbeat velvet vivid warm wary wild windy wise witty young zesty"
    ).split()
)
NOUNS: Final[tuple[str, ...]] = tuple(
    (
        "albatross alpaca antelope badger barracuda bear beaver bison bittern bobcat buffalo bulldog bustard caracal "
        "caribou cheetah chough cobra condor corgi cormorant cougar coyote crane cricket curlew deer dingo dolphin "
        "donkey dove dragonfly duck eagle egret eland elephant elk falcon ferret finch firefly flamingo fox gazelle "
        "gecko gibbon giraffe goat goose gopher grouse gull hare harrier hawk hedgehog heron hippo hoopoe hornet "
        "horse husky ibex ibis iguana impala jackal jaguar jay kangaroo kestrel kingfisher kite koala kudu ladybug "
        "lapwing lark lemur leopard limpet lion lizard llama lobster lynx magpie manatee marmot marten meerkat mink "
        "mole mongoose moose moth mule narwhal newt ocelot octopus okapi oriole oryx osprey otter owl panda panther "
        "parrot partridge pelican penguin pigeon plover pony porcupine puffin puma quail rabbit raccoon raven robin "
        "rook salmon sandpiper seal shark sheep skylark sparrow squirrel starling stoat stork swallow swan swift "
        "tapir tern thrush tiger toad toucan trout turtle viper vulture wallaby walrus weasel whale wolf wombat "
        "woodpecker wren yak zebra"
    ).split()
)


def slug(number: int) -> str:
    """Give the two-word name that belongs to *number*; equal numbers have equal names."""
    number, noun = divmod(number, len(NOUNS))
    return f"{ADJECTIVES[number % len(ADJECTIVES)]}-{NOUNS[noun]}"


def flow_run_name(prefix: str) -> str:
    """Give the name that a flow run has by default, worked out from its id's first four groups."""
    return slug(int(prefix.replace("-", ""), 16))


def checked(what: str, name: str) -> str:
    """
    Give *name* back.

    Raises:
        InvalidNameError: It holds one of / % & > <, which paths and URLs give a meaning to.
    """
    if any(sign in name for sign in BANNED):
        raise InvalidNameError(what, name, BANNED)
    return name
