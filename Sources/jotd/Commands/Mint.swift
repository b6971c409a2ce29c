import ArgumentParser
import Rotation

struct Mint: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make one token, without a daemon, and print it.",
    discussion: "The secret comes from the configuration, or from --secret-file or --secret-env.")

  @Option(help: "Whom the token speaks for; without --role, --claim sub=... says so.")
  var userID: String?

  @Option(help: "What it allows: viewer, operator or admin.")
  var role: Role?

  @OptionGroup var lifetimes: LifetimeOptions

  @Option(
    name: .customLong("claim"), parsing: .singleValue,
    help: ArgumentHelp(
      "A further claim; may be repeated. The value is read as JSON if it is JSON, and is a "
        + "string otherwise; one that begins with {, [ or \" must be JSON.",
      valueName: "name=value"))
  var claims: [String] = []

  @Option(help: "The header's typ, such as at+jwt (default: JWT).")
  var type: String?

  @Flag(help: "Give it a fresh id, the claim jti.")
  var tokenID = false

  @OptionGroup var key: KeyOptions

  func validate() throws {
    if let fault = type.flatMap(Identity.fault(inType:)) { throw ValidationError("--\(fault).") }
    let bearer = try bearer(try members())
    if let fault = Identity.fault(in: bearer) {
      throw ValidationError("\(bearer.role == nil ? "--claim" : "--user-id"): \(fault).")
    }
  }

  func run() throws {
    let (signer, defaults) = try key.signer()
    let lifetime = lifetimes.value ?? defaults.lifetime
    let claims = try members()
    let template = TokenTemplate(
      try bearer(claims), type: type, hasID: tokenID, claims: claims)
    try printToken(template, lifetime, signer)
  }

  private func bearer(_ claims: [JSON.Member]) throws -> Bearer {
    if let userID, let role { return .user(ByteString(userID), role) }
    guard userID == nil, role == nil, let subject = Bearer(subjectIn: claims) else {
      throw ValidationError(
        "Say whom the token speaks for: --user-id and --role, or --claim sub=... for verifiers "
          + "that know neither.")
    }
    return subject
  }

  private func members() throws -> [JSON.Member] {
    var members: [JSON.Member] = []
    for claim in claims {
      guard let equals = claim.utf8.firstIndex(of: UInt8(ascii: "=")), equals > claim.startIndex
      else { throw ValidationError("--claim: a claim is written name=value.") }
      let name = String(claim[..<equals])
      let member = JSON.Member(name, try value(Array(claim.utf8[equals...].dropFirst()), of: name))
      if let fault = Identity.fault(inClaim: member, hasTokenID: tokenID) {
        throw ValidationError("--claim: \(fault).")
      }
      guard !members.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }) else {
        throw ValidationError("--claim: \(Quoting.quoted(name)) is given twice.")
      }
      members.append(member)
    }
    return members
  }

  /// JSON if it is JSON, and a string otherwise. What begins like an object, an array or a string
  /// is meant to be one: a slip in it must not make another claim of it.
  private func value(_ text: [UInt8], of name: String) throws -> JSON {
    do throws(Failure) {
      // In a token, it stands inside the claims set.
      return try JSON(parsing: text, inside: 1)
    } catch {
      let first = text.first { ![0x20, 0x09, 0x0a, 0x0d].contains($0) }
      guard let first, "{[\"".utf8.contains(first) else {
        return .string(String(decoding: text, as: UTF8.self))
      }
      throw ValidationError(
        "--claim: the value of \(Quoting.quoted(name)) begins like JSON and is not acceptable: "
          + "\(error). A string that begins so is written in quotation marks, as in JSON.")
    }
  }
}

/// Mints a token that lives from now on and prints it on standard output.
func printToken(_ template: TokenTemplate, _ lifetime: Duration, _ signer: any Signer) throws {
  var minter = Minter()
  let token: Token
  var random = SystemRandomNumberGenerator()
  do {
    token = try minter.mint(
      template, lifetime: lifetime, at: .now, signer: signer, random: &random)
  } catch {
    printNote("\(error)")
    throw ExitCode.hostError
  }
  guard token.compact.count <= Limits.tokenBytes else {
    printNote("the token would be longer than \(Limits.tokenBytes) bytes: leave claims out")
    throw ExitCode.badData
  }
  printLine(String(decoding: token.compact, as: UTF8.self))
}
