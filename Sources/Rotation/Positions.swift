/// A set of positions in a list of at most `Limits.deliveries`.
struct Positions: Equatable {
  private var bits: UInt64 = 0

  init() {}
  /// The positions `0..<count`.
  init(upTo count: Int) { bits = count >= 64 ? .max : 1 << UInt64(count) - 1 }
  init(_ positions: some Sequence<Int>) { for position in positions { insert(position) } }

  var isEmpty: Bool { bits == 0 }
  func contains(_ position: Int) -> Bool { bits >> UInt64(position) & 1 == 1 }
  func contains(anyOf others: Positions) -> Bool { bits & others.bits != 0 }
  mutating func insert(_ position: Int) { bits |= 1 << UInt64(position) }
  mutating func remove(_ position: Int) { bits &= ~(1 << UInt64(position)) }
  mutating func subtract(_ others: Positions) { bits &= ~others.bits }
}
