import HeapModule

/// When which identity is to be looked at: a set of (identity, instant), the earliest first.
///
/// Invariants: an identity has at most one valid entry, the one of its latest `set`; entries that a
/// later `set` overtook stay in the heap until they surface, and the one at the top is valid.
struct Schedule {
  private struct Entry: Comparable {
    let due: Instant
    let number: Int

    static func < (left: Entry, right: Entry) -> Bool {
      (left.due, left.number) < (right.due, right.number)
    }
  }

  private var heap = Heap<Entry>()
  /// The valid due time of each identity, by its number.
  private var valid: [Instant?] = []

  /// An empty schedule for identities `0..<count`.
  init(count: Int = 0) {
    valid = Array(repeating: nil, count: count)
    heap.reserveCapacity(count)
  }

  /// Makes the identity of a number due at `due`, whatever was set before.
  mutating func set(_ number: Int, due: Instant) {
    guard valid[number] != due else { return }
    valid[number] = due
    heap.insert(Entry(due: due, number: number))
    if heap.count > 4 * valid.count + 64 { compact() }
    dropOvertaken()
  }

  /// Takes out the number of the earliest identity that is due at `now`; nil when none is.
  mutating func popDue(at now: Instant) -> Int? {
    guard let entry = heap.min, entry.due <= now else { return nil }
    heap.removeMin()
    valid[entry.number] = nil
    dropOvertaken()
    return entry.number
  }

  /// Whether any is due at `now`.
  func isDue(at now: Instant) -> Bool { heap.min.map { $0.due <= now } ?? false }

  /// The earliest due time; nil when nothing is scheduled.
  var next: Instant? { heap.min?.due }

  private mutating func dropOvertaken() {
    while let entry = heap.min, valid[entry.number] != entry.due { heap.removeMin() }
  }

  private mutating func compact() {
    var kept = Heap<Entry>(minimumCapacity: valid.count)
    for (number, due) in valid.enumerated() {
      if let due { kept.insert(Entry(due: due, number: number)) }
    }
    heap = kept
  }
}
