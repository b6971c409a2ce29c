import HeapModule

/// When which identity is to be looked at: a set of (slot, instant), the earliest first.
///
/// Invariants: a slot has at most one valid entry, the one of its latest `set`; entries that a
/// later `set` overtook stay in the heap until they surface, and the one at the top is valid.
struct Schedule {
  private struct Entry: Comparable {
    let due: Instant
    let slot: Int

    static func < (left: Entry, right: Entry) -> Bool {
      (left.due, left.slot) < (right.due, right.slot)
    }
  }

  private var heap = Heap<Entry>()
  /// The valid due time of each slot.
  private var valid: [Instant?] = []

  /// An empty schedule for slots `0..<count`.
  init(count: Int = 0) {
    valid = Array(repeating: nil, count: count)
    heap.reserveCapacity(count)
  }

  /// Makes `slot` due at `due`, whatever was set before.
  mutating func set(_ slot: Int, due: Instant) {
    guard valid[slot] != due else { return }
    valid[slot] = due
    heap.insert(Entry(due: due, slot: slot))
    if heap.count > 4 * valid.count + 64 { compact() }
    dropOvertaken()
  }

  /// Takes out the earliest slot that is due at `now`; nil when none is.
  mutating func popDue(at now: Instant) -> Int? {
    guard let entry = heap.min, entry.due <= now else { return nil }
    heap.removeMin()
    valid[entry.slot] = nil
    dropOvertaken()
    return entry.slot
  }

  /// The earliest due time; nil when nothing is scheduled.
  var next: Instant? { heap.min?.due }

  private mutating func dropOvertaken() {
    while let entry = heap.min, valid[entry.slot] != entry.due { heap.removeMin() }
  }

  private mutating func compact() {
    var kept = Heap<Entry>(minimumCapacity: valid.count)
    for (slot, due) in valid.enumerated() {
      if let due { kept.insert(Entry(due: due, slot: slot)) }
    }
    heap = kept
  }
}
