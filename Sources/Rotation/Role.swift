/// What a token lets its bearer do: viewer < operator < admin, each with all that is below it.
package enum Role: String, CaseIterable, Comparable, Sendable {
  case viewer, `operator`, admin

  package static func < (left: Role, right: Role) -> Bool { left.level < right.level }

  private var level: Int {
    switch self {
    case .viewer: 1
    case .operator: 2
    case .admin: 3
    }
  }
}
