/// What somebody did to what was delivered.
package enum Displacement: Sendable {
  /// Removed or moved away.
  case removal
  case emptying
  /// Something that is no token is in its place.
  case something
  /// Another token than the one that was delivered last.
  case token
  /// Another owner, group or mode.
  case attributes
}
