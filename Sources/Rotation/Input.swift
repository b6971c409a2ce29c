/// Everything that can happen to the rotator: one of these is one `step`.
package enum Input: Sendable {
  /// The moment of `Turn.nextWake` has come, or there was another reason to look.
  case woke
  /// The wall clock was set by this much; or by nothing: the machine slept.
  case clockSet(by: Duration)
  /// This one signs with the key of this name from now on. If it is another one, every token of the
  /// key is replaced at once. Whoever could not have a token signed tries again.
  case signerRead(key: String, any Signer)
  /// The key of this name is this one from now on. If another signs, every token of the key is
  /// replaced at once.
  case keyRead(Key)
  /// These identities, and no others, are kept fresh, with these keys. Those that rotate as before
  /// keep their tokens. A place that none wants any more is removed or emptied, if this run may
  /// write it. Every file is looked at, so that what an earlier run delivered is kept, and what was
  /// lost is delivered again.
  case configured([Identity], Keys)
  /// Somebody asked for new tokens.
  case requested(RotationRequest)
  /// These jobs came back, in this order.
  case ended([(job: Job.ID, outcome: Outcome)])
  /// These jobs have not come back for longer than they should. Whoever they are for, or waits for
  /// their paths, counts as failing until they do; nobody else waits for them.
  case stalled([Job.ID])
  /// Somebody may have taken away or changed what is at these paths: a look tells. Paths of no
  /// delivery are passed over.
  case touched(Set<Path>)
}

/// Somebody's wish for new tokens before the old ones are due.
package struct RotationRequest: Sendable {
  /// Given back in `Turn.answered`; the host numbers them.
  package typealias ID = UInt64

  package let id: ID
  /// The names of the identities; names of none are passed over.
  package let names: Set<String>
  /// A token that was made in the present second stays, and is only delivered where it is not yet:
  /// a new one would not live longer, because `iat` and `exp` are whole seconds.
  package let onlyToGain: Bool

  package init(id: ID, names: Set<String>, onlyToGain: Bool = false) {
    self.id = id
    self.names = names
    self.onlyToGain = onlyToGain
  }
}
