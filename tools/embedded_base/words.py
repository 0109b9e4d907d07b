"""The words that the tokenizer knows whole: what scenes and products are described with."""

from __future__ import annotations

SCENE_WORDS = """
sand beach shore dune coast sea ocean water pool river lake rain snow snowy ice winter wood wooden oak walnut pine
plank planks floor board wet stone stones rock rocky slate granite cobblestone cobblestones street pavement road
sidewalk plaza pink satin silk cloth fabric linen cotton velvet white black marble concrete cement glossy acrylic
terracotta tile tiles tiled clay green grass grassy lawn meadow field park garden leaves plants forest nature studio
surface seamless backdrop background backdrops wall walls plain brick bricks plaster window windows shadow shadows
blurred blurry bokeh night city lights urban sunset sky clouds sunrise evening morning noon midday afternoon dusk
golden hour day daylight sun sunny sunlight light lighting lit soft hard harsh warm cool cold cosy cozy dramatic dark
bright moody key natural diffuse rim high low contrast vanity table tabletop desk kitchen counter countertop worktop
bathroom sink bath spa office shelf shelves bedroom bedside living room cafe bar restaurant shop store pedestal podium
stage bench patio terrace balcony rooftop loft gallery interior indoor indoors outdoor outdoors outside inside home
house hotel gym bed sofa tray plate box wooden rustic modern minimal minimalist luxury elegant vintage clean simple
empty scene ground top front behind beside near next against standing placed sitting resting over under above around
with without and the a an of on in at by to for from it its is just no not other two one view close up closeup wide
angle side eye level macro photo photograph photography picture image shot render product packshot advertising
advertisement commercial campaign catalog catalogue editorial style professional realistic photorealistic detailed
sharp focus depth high quality resolution shallow reflection reflections mirror texture pattern colour color coloured
colored text label labelled logo brand named says saying reads letters print printed word sku token item object thing
"""

PRODUCT_WORDS = """
perfume fragrance cologne bottle bottles flask mug mugs cup coffee tea tin tins canister candle candles candlestick wax
wick flame soda can cans drink beverage cream jar jars pot cosmetic cosmetics skincare sports water carton cardboard
packet package packaging pack pump dispenser soap lotion shampoo spray sprays aerosol deodorant wine beer lipstick
makeup beauty food juice oil sauce vitamins cereal chocolate honey shoe shoes sneaker sneakers boot laptop computer
phone watch bag handbag backpack toy book chair lamp vase bowl glass plastic metal metallic ceramic porcelain paper
leather rubber steel aluminium aluminum lacquered frosted translucent transparent opaque clear matte shiny polished
brushed cap caps lid lids case handle round rectangular square hexagonal slim tall short small large big little thin
wide size shape red orange yellow green teal blue navy purple lavender lilac violet pink rose magenta brown beige cream
ivory grey gray silver gold golden black white mint amber turquoise maroon crimson olive tan peach coral copper bronze
pale deep pastel neon beautiful new pretty fresh luxurious sporty classic stylish premium
"""


OTHER_WORDS = """
after again air all also always am any are art as autumn baby back bag ball band bar base be because big bird body both
bottom bowl bread break bring business but buy call car care cat center centre change check child city class color come
corner country couple cut dance date deep design dog door down dress drive dry each earth eat edge eight elephant end
energy even every family fast few film fire first fish five flower flowers fly foot four free friend fruit full game
gift girl give glow go good great guitar hair half hand hands happy hat have he head health hear heart heavy help her
here hold horse hot human idea into island job keep kid kids lake large last later leaf left less letter life like line
love low made magic make man many map market may men milk money moon more most mountain mountains move much music must
my name need never next nice nine old only open or our out own part party people person piece place planet play please
point power present price public put quick race rainbow read ready real rest right ring rise run safe sale same school
season second see seven shadowy she ship sign silence sister six sleep smile smoke snowfall so some song space special
speed spring square stand star stars start state steam step store story strong such summer sweet table take ten than
that their them then there these they this three through time today together tomorrow town train travel tree trees true
turn under until up us use very visit wait walk want was wave way we week well were wet what wheel when where which
while who wild will wind wine wing wish woman women work world would year yes you young your zero
"""


def known_words() -> list[str]:
    """Every word once, in order of first appearance."""
    return list(dict.fromkeys((SCENE_WORDS + PRODUCT_WORDS + OTHER_WORDS).split()))
