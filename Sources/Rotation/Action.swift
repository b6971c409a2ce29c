/// What the host is to do.
package enum Action: Sendable {
  /// Carry out a job, and come back with how it `ended`.
  case run(Job)
  /// The same, where a signature is wanted.
  case sign(SigningJob)
  /// Tell whoever is interested.
  case report(Event)
}

/// One operation at one delivery. A class, because it is handed on many times.
package final class Job: Sendable {
  package typealias ID = UInt64
  package enum Operation: Sendable {
    /// Find out what is there; change nothing.
    case look
    /// Make these bytes what readers find.
    case write([UInt8])
    /// Leave nothing there.
    case remove
  }

  package let id: ID
  /// Whose delivery it is, or was.
  package let subject: Subject.Name
  package let delivery: Delivery
  package let operation: Operation
  /// That of the delivery's path.
  package let folder: Path

  init(id: ID, subject: Subject.Name, delivery: Delivery, operation: Operation) {
    self.id = id
    self.subject = subject
    self.delivery = delivery
    self.operation = operation
    folder = delivery.path.folder
  }
}

/// A signature that somebody else makes, and that is waited for. A key has one at a time.
package final class SigningJob: Sendable {
  /// One of the same numbers as those of other jobs.
  package let id: Job.ID
  /// The name of the key.
  package let key: String
  package let message: [UInt8]
  package let signer: any Signer

  init(id: Job.ID, key: String, _ draft: Draft) {
    self.id = id
    self.key = key
    message = draft.signingInput
    signer = draft.signer
  }
}

/// How a job ended.
package enum Outcome: Sendable {
  /// Readers find what was written; or what was to be removed is gone.
  case done
  /// What a look found; or `.nothing`, where nothing was there to be removed.
  case found(Found)
  /// The signature that was wanted.
  case signed([UInt8])
  /// It did not succeed, for this reason; the place may have changed all the same.
  case failed(Failure)
}

/// What is at the place of a delivery.
package enum Found: Sendable {
  case nothing
  /// A file with these bytes. `isAsConfigured`: its owner, group and mode are the delivery's.
  case file([UInt8], isAsConfigured: Bool)
  /// A file that is too large to hold a token.
  case tooLarge
  /// Something is there, and nobody can say what it holds.
  case unreadable(Failure)
}
