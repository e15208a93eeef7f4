"""The built-in lexicon: topics whose words have a milder or plainer word that says the same."""

from rmviz.configs.word_lists import WordList, parse_word_lists

_TOPICS = """
pregnancy: pregnant=expecting, pregnancy=this time, midwife=helper, fetus=little one, womb=belly, ultrasound=scan,
 trimester=months, prenatal=early, maternal=motherly, childbirth=the delivery, miscarriage=loss, abortion=the procedure;
death: died=passed away, dead=gone, death=passing, dying=fading, corpse=remains, killed=taken, funeral=farewell,
 suicide=ending it, murder=taking of a life, buried=laid to rest;
fighting: fight=disagreement, fought=differed, fighting=differing, punch=nudge, battle=dispute, violent=heated,
 attack=approach, attacked=approached, brutal=harsh, bloody=messy;
politics: politics=public affairs, political=public, politician=official, politicians=officials, senator=official,
 election=the count, vote=choose, voted=chose, government=the authorities, republican=conservative, democrat=liberal;
disease: disease=condition, sick=unwell, cancer=a serious illness, virus=bug, infection=problem, fever=temperature,
 vomit=be unwell, diagnosed=told, tumor=growth, symptoms=signs;
money: money=means, rich=well-off, poor=modest, cheap=inexpensive, expensive=costly, salary=pay, debt=obligations,
 bankrupt=out of means, cash=funds, price=cost;
sex: sex=intimacy, sexual=intimate, naked=undressed, porn=adult material, sexy=attractive, prostitute=escort,
 condom=protection, orgasm=climax, rape=assault;
drugs: drugs=substances, drug=substance, weed=a plant, cocaine=a powder, heroin=a substance, addict=user,
 alcohol=a drink, drunk=tipsy, beer=a drink, stoned=relaxed;
crime: steal=take, stole=took, stealing=taking, thief=taker, robbed=relieved, prison=an institution, jail=custody,
 illegal=not allowed, criminal=offender, fraud=irregularity;
swearing: damn=darn, hell=heck, shit=stuff, fuck=forget, fucking=very, ass=behind, bitch=person, bastard=person, crap=stuff
"""


def built_in() -> tuple[WordList, ...]:
    """The topics of the built-in lexicon."""
    return parse_word_lists(_TOPICS)
