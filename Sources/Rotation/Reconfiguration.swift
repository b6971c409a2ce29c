/// When the configuration changes.
extension Rotator {
  /// Makes `identities` the ones that are kept fresh. Those that are the same as before keep
  /// their tokens; what went, in whole or in part, leaves no file behind. Every place is looked
  /// at, so that what an earlier run delivered is kept, and what was lost is delivered again.
  @discardableResult
  package mutating func apply(_ identities: [Identity], at now: Instant) -> Changes {
    var changes = Changes()
    var earlier: [String: Int] = [:]
    for (index, slot) in slots.enumerated() { earlier[slot.identity.name] = index }
    let before = slots
    let kept = Set(identities)
    let ours = Set(before.lazy.filter { !kept.contains($0.identity) }.flatMap(\.ours))
    slots = []
    slots.reserveCapacity(identities.count)
    var movedTo: [Int: Int] = [:]
    for identity in identities {
      if let old = earlier[identity.name], before[old].identity == identity {
        movedTo[old] = slots.count
        slots.append(before[old])
        // Whoever reloads may have mended what failed.
        slots[slots.count - 1].retryAt = nil
        // What is being written there needs no look.
        slots[slots.count - 1].unread = identity.lastingPositions
        slots[slots.count - 1].unread.subtract(before[old].running)
        changes.kept += 1
      } else {
        if earlier[identity.name] == nil { changes.added += 1 } else { changes.changed += 1 }
        slots.append(Slot(identity, ours: ours))
      }
    }
    findPlaces()
    changes.removed = before.count - changes.kept - changes.changed
    reassignJobs(movedTo, before)
    removeUnwanted(before.indices.filter { movedTo[$0] == nil }.map { before[$0] })
    failing = slots.count { !$0.failures.isEmpty }
    unsettled = slots.count { !$0.isSettled }
    schedule = Schedule(count: slots.count)
    waiting = []
    changed = Set(slots.indices)
    for slot in slots.indices {
      if slots[slot].token != nil, slots[slot].isDelivered {
        plan(slot, at: now)
      } else {
        schedule.set(slot, due: now)
      }
    }
    return changes
  }

  private mutating func findPlaces() {
    places = [:]
    for (index, slot) in slots.enumerated() {
      for (position, delivery) in slot.identity.deliveries.enumerated() {
        places[delivery.path] = (index, position)
      }
    }
  }

  /// Points the running jobs to where their slots are now, and marks those without one.
  private mutating func reassignJobs(_ movedTo: [Int: Int], _ before: [Slot]) {
    for (id, assignment) in jobs {
      switch assignment {
      case .look(let slot, let position):
        if let moved = movedTo[slot] {
          jobs[id] = .look(slot: moved, position: position)
        } else {
          abandon(id, before[slot], position)
        }
      case .delivery(let slot, let position, let issue, let expiresAt):
        if let moved = movedTo[slot] {
          jobs[id] = .delivery(
            slot: moved, position: position, issue: issue, expiresAt: expiresAt)
        } else {
          abandon(id, before[slot], position)
        }
      case .leftover, .removal: break
      }
    }
  }

  /// The job has nobody any more whom it is for; until it comes back, its path is not free.
  private mutating func abandon(_ job: Job.ID, _ slot: Slot, _ position: Int) {
    let delivery = slot.identity.deliveries[position]
    jobs[job] = .leftover(
      delivery, identity: slot.identity.name, isOurs: slot.claimed.contains(position))
    busy.insert(delivery.path)
  }

  /// What this run may write, it may also remove; what it found to be somebody else's stays.
  private mutating func removeUnwanted(_ gone: [Slot]) {
    for slot in gone {
      for (position, delivery) in slot.identity.deliveries.enumerated()
      where slot.claimed.contains(position) && places[delivery.path] == nil
        && !busy.contains(delivery.path)
      {
        startRemoval(delivery, of: slot.identity.name)
      }
    }
  }

  mutating func startRemoval(_ delivery: Delivery, of identity: String) {
    busy.insert(delivery.path)
    start(.removal(delivery), delivery, of: identity, .remove)
  }

  /// No job of an earlier configuration runs at `path` any more: who waited for it may begin.
  mutating func leave(_ path: Path, at now: Instant) {
    busy.remove(path)
    hanging.remove(path)
    guard waiting.remove(path) != nil, let (slot, position) = places[path] else { return }
    startJobs(slot, position...position, at: now)
  }
}
