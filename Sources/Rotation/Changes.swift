/// What a reload did, as numbers of identities.
package struct Changes: Sendable, Equatable {
  package var kept = 0
  package var added = 0
  package var changed = 0
  package var removed = 0

  package init() {}

  /// What `new` changes of `old`.
  init(from old: [String: Identity], to new: [Identity]) {
    for identity in new {
      switch old[identity.name] {
      case identity?: kept += 1
      case nil: added += 1
      default: changed += 1
      }
    }
    removed = old.count - kept - changed
  }
}
