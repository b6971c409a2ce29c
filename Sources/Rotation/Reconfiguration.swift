/// When the configuration changes, or the rotator starts beside what an earlier run delivered.
extension Rotator {
  /// Makes `identities` the ones that are kept fresh. Those that are the same as before keep
  /// their tokens; what went, in whole or in part, leaves no file behind.
  @discardableResult
  package mutating func apply(_ identities: [Identity], at now: Instant) -> Changes {
    var changes = Changes()
    var earlier: [String: Int] = [:]
    for (index, slot) in slots.enumerated() { earlier[slot.identity.name] = index }
    let before = slots
    slots = []
    slots.reserveCapacity(identities.count)
    var movedTo: [Int: Int] = [:]
    for identity in identities {
      if let old = earlier[identity.name], before[old].identity == identity {
        movedTo[old] = slots.count
        slots.append(before[old])
        // Whoever reloads may have mended what failed.
        slots[slots.count - 1].retryAt = nil
        changes.kept += 1
      } else {
        if earlier[identity.name] == nil { changes.added += 1 } else { changes.changed += 1 }
        slots.append(Slot(identity))
      }
    }
    changes.removed = before.count - changes.kept - changes.changed
    reassignJobs(movedTo, before)
    removeUnwanted(before.indices.filter { movedTo[$0] == nil }.map { before[$0].identity })
    failing = slots.count { !$0.failures.isEmpty }
    unsettled = slots.count { !$0.isSettled }
    schedule = Schedule(count: slots.count)
    waiting = [:]
    changed = Set(slots.indices)
    for slot in slots.indices {
      let isComplete = slots[slot].token != nil && slots[slot].undelivered.isEmpty
      if isComplete { plan(slot, at: now) } else { schedule.set(slot, due: now) }
    }
    return changes
  }

  /// Compares what the deliveries hold with what they should: takes over an earlier run's tokens
  /// that still match key, claims and files and are fresh, and delivers again what was lost.
  ///
  /// `read` returns a delivery's bytes, or nil when they or their owner, group or mode are not
  /// as configured.
  package mutating func takeStock(at now: Instant, read: (Delivery) -> [UInt8]?) {
    for slot in slots.indices {
      if let token = slots[slot].token {
        for (position, delivery) in slots[slot].identity.deliveries.enumerated()
        where delivery.isLasting && !slots[slot].running.contains(position) {
          let content = read(delivery)
          guard content != delivery.content(token, of: slots[slot].identity) else { continue }
          // One that failed may still hold an earlier token.
          if content == nil || !slots[slot].undelivered.contains(position) {
            slots[slot].held[position] = nil
            unsettle(slot)
          }
          slots[slot].undelivered.insert(position)
          schedule.set(slot, due: now)
        }
      } else if let token = found(slots[slot].identity, at: now, read) {
        slots[slot].adopt(token)
        report(.kept(TokenSummary(token, of: slots[slot].identity)))
        if slots[slot].undelivered.isEmpty {
          settle(slot)
          plan(slot, at: now)
        }
      }
    }
  }

  /// The fresh token that every delivery of `identity` holds, if it is the one that the current
  /// key and claims make: minting is deterministic, so it is compared with its like.
  private mutating func found(
    _ identity: Identity, at now: Instant, _ read: (Delivery) -> [UInt8]?
  ) -> Token? {
    let lasting = identity.deliveries.filter(\.isLasting)
    guard let first = lasting.first, let content = read(first),
      let compact = first.token(in: content),
      case .number(let text)? = (try? CompactToken(parsing: compact))?.claims["iat"],
      let issuedAt = Int64(text), issuedAt <= now.wholeSeconds,
      issuedAt > now.wholeSeconds - identity.lifetime.components.seconds,
      let token = try? minter.mint(
        identity.claims, lifetime: identity.lifetime, at: Instant(seconds: issuedAt),
        signer: signer),
      now < token.expiry - identity.refreshBefore,
      lasting.allSatisfy({
        !busy.contains($0.path) && read($0) == $0.content(token, of: identity)
      })
    else { return nil }
    return token
  }

  /// Points the running jobs to where their slots are now, and marks those without one.
  private mutating func reassignJobs(_ movedTo: [Int: Int], _ before: [Slot]) {
    for (id, assignment) in jobs {
      guard case .delivery(let slot, let position, let issue, let expiresAt) = assignment else {
        continue
      }
      if let moved = movedTo[slot] {
        jobs[id] = .delivery(
          slot: moved, position: position, issue: issue, expiresAt: expiresAt)
      } else {
        let delivery = before[slot].identity.deliveries[position]
        jobs[id] = .leftover(delivery)
        busy.insert(delivery.path)
      }
    }
  }

  private mutating func removeUnwanted(_ gone: [Identity]) {
    guard !gone.isEmpty else { return }
    let wanted = Set(slots.lazy.flatMap { $0.identity.deliveries.lazy.map(\.path) })
    for delivery in gone.lazy.flatMap(\.deliveries)
    where !wanted.contains(delivery.path) && !busy.contains(delivery.path) {
      startRemoval(delivery)
    }
  }

  func isWanted(_ path: Path) -> Bool {
    slots.contains { $0.identity.deliveries.contains { $0.path == path } }
  }

  mutating func startRemoval(_ delivery: Delivery) {
    busy.insert(delivery.path)
    start(.removal(delivery), delivery, .remove)
  }

  /// No job of an earlier configuration runs at `path` any more: who waited for it may begin.
  mutating func leave(_ path: Path, at now: Instant) {
    busy.remove(path)
    hanging.remove(path)
    guard let slot = waiting.removeValue(forKey: path),
      let position = slots[slot].identity.deliveries.firstIndex(where: { $0.path == path })
    else { return }
    startDeliveries(slot, position...position, at: now)
  }
}
