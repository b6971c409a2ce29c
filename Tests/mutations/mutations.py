"""Deliberate faults of the core, each with the words of the invariant that must find it.

A fault is a text that occurs once in a file of Sources/Rotation, and what stands in its place.
Some of them were real.
"""

ROTATOR, SLOT, SCHEDULE, RECONFIGURATION = "Rotator", "Slot", "Schedule", "Reconfiguration"
IDENTITY, TOKEN, EVENT = "Identity", "Token", "Event"

STALE = "holds a stale token"
FUTURE = "token of the future"
MISSING = "holds no token|there is no token"
OLD_KEY = "holds a token of key-|current key did not sign"
READY = "no READY|is not delivered"
AGAIN = "awake again at once|woken for nothing"

MUTATIONS = [
    # Freshness
    ("the timer is a second late", ROTATOR,
     "{ schedule.next }", "{ schedule.next.map { $0 + .seconds(1) } }", STALE + "|not tried again"),
    ("rotations have no spread", IDENTITY,
     "(least + (most - least) * fraction)", "most * 0", "was rotated late|" + STALE),
    ("rotations are due ten minutes late", SLOT,
     "else { return now }\n    return identity.due(token)",
     "else { return now }\n    return identity.due(token) + .seconds(600)", STALE + "|rotated late"),
    ("a new token is not delivered", ROTATOR,
     "slots[slot].undelivered = Positions(upTo: identity.deliveries.count)", "", STALE + "|lacks it|" + MISSING),
    ("a place that was busy is not given the newest token", ROTATOR,
     "if slots[slot].issue != issue { startDeliveries(slot, position...position, at: now) }",
     "", STALE + "|" + OLD_KEY),
    ("a finished job counts as running for ever", ROTATOR,
     "      slots[slot].running.remove(position)\n", "", STALE + "|no READY"),
    ("a pause does not end for a token that is due", ROTATOR,
     "if isPausing, !(needsToken && canMint) {", "if isPausing {", STALE + "|HANGS"),
    ("an overtaken entry of the schedule hides the next", SCHEDULE,
     "guard valid[slot] != due else", "guard valid[slot] == nil else", STALE + "|" + MISSING + "|woken|not rotated"),
    ("tokens live a second longer than they say", ROTATOR,
     "lifetime: identity.lifetime, at: now, signer: signer)",
     "lifetime: identity.lifetime + .seconds(1), at: now, signer: signer)", "of another life"),
    # No future iat
    ("tokens are issued a second ahead", TOKEN,
     "let issuedAt = now.wholeSeconds", "let issuedAt = now.wholeSeconds + 1", FUTURE + "|HANGS"),
    ("time that runs backwards goes unnoticed", ROTATOR,
     "if now < latest { reconsider(at: now) }", "", FUTURE + "|" + STALE),
    ("the setting of the clock is ignored", SLOT,
     "|| token.issued > now ||", "||", FUTURE),
    ("a token of the future is kept at start", RECONFIGURATION,
     "issuedAt <= now.wholeSeconds,", "", "said to be kept, and is not fresh"),
    # No starvation
    ("one that fails delays the others", ROTATOR,
     "while let slot = schedule.popDue(at: now) { attend(slot, at: now, &random) }",
     "while let slot = schedule.popDue(at: now) {\n"
     "      if failing > 0, slots[slot].failures.isEmpty {\n"
     "        schedule.set(slot, due: now + .seconds(30))\n        continue\n      }\n"
     "      attend(slot, at: now, &random)\n    }", STALE + "|is not delivered|no READY|there is no|not rotated"),
    ("one delivery that hangs delays the identity's others", ROTATOR,
     "&& !slots[slot].running.contains(position)\n    {",
     "&& !(0..<Limits.deliveries).contains(where: slots[slot].running.contains)\n    {",
     STALE + "|" + MISSING),
    # Retries: growing, bounded, jittered, for ever
    ("pauses do not grow", ROTATOR,
     "(1 << min(slots[slot].attempts, 16))", "1", "tried again after"),
    ("pauses grow without a bound", ROTATOR,
     "min(doubled, Limits.longestRetry)", "doubled", "not tried again|" + STALE),
    ("pauses are as long as they are", ROTATOR,
     "Double.random(\n      in: 1 - Limits.retryJitter...1 + Limits.retryJitter, using: &random)",
     "1.0", "jitters"),
    ("pauses vary by half", ROTATOR,
     "1 - Limits.retryJitter...1 + Limits.retryJitter", "0.5...1.5", "tried again|jitters"),
    ("minting that fails is not tried again", ROTATOR,
     "let waits = slots[slot].failures[Slot.minting] != nil && slots[slot].retryAt != nil",
     "let waits = slots[slot].failures[Slot.minting] != nil\n"
     "    if waits { slots[slot].retryAt = nil }", "not tried again|woken|awake|nobody|HANGS"),
    ("a failure forgets when the next try is", ROTATOR,
     "slots[slot].retryAt = now + pause * jitter", "slots[slot].retryAt = now", "HANGS|tried again"),
    # Wake-ups
    ("the timer is a second early", ROTATOR,
     "{ schedule.next }", "{ schedule.next.map { $0 - .seconds(1) } }", AGAIN),
    ("overtaken entries of the schedule wake", SCHEDULE,
     "{ compact() }\n    dropOvertaken()\n", "{ compact() }\n", AGAIN),
    ("compacting the schedule forgets", SCHEDULE,
     "if let due { kept.insert", "if let due, slot > 0 { kept.insert", STALE + "|nobody is going|not tried again|awake"),
    ("what was reported wakes again", SLOT,
     "$0.1 > now && $0.0 > reportedAge(of: oldestHeld)", "$0.1 > now", AGAIN),
    ("a failing identity is looked at every second", ROTATOR,
     "let next = [due, slots[slot].retryAt, aging]",
     "let often = slots[slot].failures.isEmpty ? nil : now + .seconds(1)\n"
     "    let next = [often, due, slots[slot].retryAt, aging]", AGAIN),
    # No churn
    ("a restart mints anew", RECONFIGURATION,
     "} else if let token = found(slots[slot].identity, at: now, read) {",
     "} else if let token = found(slots[slot].identity, at: now, read), token.issuedAt < 0 {",
     "minted anew by a restart"),
    ("a reload mints anew", RECONFIGURATION,
     "before[old].identity == identity {", "before[old].identity == identity, old < 0 {",
     "Changes|without a cause"),
    ("rotations come far too early", IDENTITY,
     "(least + (most - least) * fraction)", "most * 3.0", "without a cause"),
    # What is found at start
    ("a stale token is kept at start", RECONFIGURATION,
     "now < token.expiry - identity.refreshBefore,", "", "said to be kept, and is not fresh"),
    ("the other deliveries are not looked at", RECONFIGURATION,
     "lasting.allSatisfy({\n        !busy.contains($0.path) && read($0) == $0.content(token, of: identity)\n      })",
     "true", "lacks it|not so|holds"),
    ("a lost file is not delivered again", RECONFIGURATION,
     "          slots[slot].undelivered.insert(position)\n", "", MISSING + "|not so"),
    ("a lost file counts as held", RECONFIGURATION,
     "            slots[slot].held[position] = nil\n", "", "not so|is not delivered"),
    # Key, requests, reloads
    ("a new key replaces nothing", ROTATOR,
     "      slots[slot].retryAt = nil\n      schedule.set(slot, due: now)\n    }\n  }\n\n  /// Replaces",
     "      slots[slot].retryAt = nil\n    }\n  }\n\n  /// Replaces", OLD_KEY),
    ("a token of an old key is good enough", SLOT,
     " || token.keyID != keyID", "", OLD_KEY),
    ("an outcome makes forget what is to be done at once", SLOT,
     "guard let token, !needsToken(at: now, keyID: keyID) else { return now }",
     "guard let token else { return now }", OLD_KEY + "|not rotated|future"),
    ("nobody's request rotates", ROTATOR,
     "      slots[slot].isForced = true\n", "", "not rotated when it was asked for"),
    ("one request rotates for ever", ROTATOR,
     "    slots[slot].isForced = false\n", "", "HANGS|without a cause"),
    ("removed files stay", RECONFIGURATION,
     "    removeUnwanted(before.indices", "    if now.microseconds < 0 { removeUnwanted([]) }\n    _ = (before.indices",
     "was left behind"),
    ("a reload removes a file that another identity has now", RECONFIGURATION,
     "where !wanted.contains(delivery.path) && !busy", "where !busy", "is removed, and wanted"),
    ("two jobs write to one path", RECONFIGURATION,
     "        busy.insert(delivery.path)\n      }", "      }", "two jobs at"),
    ("who waits for a path waits for ever", RECONFIGURATION,
     "    startDeliveries(slot, position...position, at: now)\n", "", MISSING + "|no READY|holds"),
    ("who waits for a hanging job is not reported", ROTATOR,
     "if let slot = waiting[delivery.path] { recordHanging(slot, delivery.path, at: now) }", "",
     "no READY"),
    # Reports and counts
    ("a failure is reported at every try", ROTATOR,
     "guard slots[slot].failures[key] != failure else { return }", "", "reported twice"),
    ("recovery is not reported, and failures stay", ROTATOR,
     "guard slots[slot].failures.removeValue(forKey: position ?? Slot.minting) != nil else {",
     "guard slots[slot].failures[position ?? Slot.minting] != nil else {", "counted|recovered|twice|not tried"),
    ("failing identities are counted wrongly", ROTATOR,
     "if slots[slot].failures.isEmpty { failing -= 1 }", "", "counted wrongly"),
    ("that a token is stale is never said", ROTATOR,
     "guard age > slots[slot].reportedAge(of: oldest) else { return }",
     "guard age > .stale, age > slots[slot].reportedAge(of: oldest) else { return }", "nobody said|woken for nothing"),
    ("that a token is stale is said again and again", ROTATOR,
     "    slots[slot].reported = (oldest, age)\n", "", "reported twice|HANGS"),
    ("a hanging delivery is never said", ROTATOR,
     "      hanging.insert(path)\n      recordHanging(slot, path, at: now)\n", "",
     "no READY|waits for ever|" + STALE),
    ("ready before the tokens are there", SLOT,
     "var isSettled = false", "var isSettled = true", "is not delivered"),
    ("health believes in tokens that were not delivered", ROTATOR,
     "        slots[slot].held[position] = expiresAt\n",
     "        slots[slot].held[position] = slots[slot].token?.expiresAt ?? expiresAt\n", "not so"),
    ("delivered everywhere is said too early", ROTATOR,
     "    if slots[slot].undelivered.isEmpty {\n      completeRotation(slot)\n    } else",
     "    if true {\n      completeRotation(slot)\n    } else", "lacks it"),
    ("an event shows a token", EVENT,
     "userID = identity.userID",
     "userID = String(decoding: token.compact, as: UTF8.self)", "token bytes"),
]
