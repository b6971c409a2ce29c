/// Why a token is not accepted. The raw values are part of the command line's contract.
package struct VerificationError: Error, Sendable {
  package enum Reason: String, CaseIterable, Sendable {
    case expired, signature, algorithm, malformed
    case missingClaim = "missing_claim"
    case role
    case notYetValid = "not_yet_valid"
  }

  package let reason: Reason
  /// In words; never quotes the token.
  package let detail: String

  package init(_ reason: Reason, _ detail: String) {
    self.reason = reason
    self.detail = detail
  }
}
