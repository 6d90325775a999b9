//! Binary operators next to each other, and what else has to be known of syntax: how a new operator groups its operands.

use std::ops::Range;
use syn::visit::Visit;

/// A binary operator around one of its operands, which has an operator itself.
#[derive(Clone)]
pub struct Link {
    pub range: Range<usize>,
    pub strength: u8,
    /// Whether the operand is the one on the left.
    pub left: bool,
    pub has_let: bool,
}

/// The expression that changes with the operator of `own`: `a * b + c` is not `(a - b) + c` for each operator in place of
/// `*`. Where the new one binds less tightly than one around it, it is the expression of that one.
pub fn changed<'a>(chain: &'a [Link], own: &'a Range<usize>, operator: &str) -> &'a Range<usize> {
    let new = strength(operator);
    let regroups = |link: &&Link| new < link.strength || (new == link.strength && !link.left);
    chain.iter().rev().take_while(regroups).last().map_or(own, |link| &link.range)
}

/// How tightly an operator binds: <https://doc.rust-lang.org/reference/expressions.html#expression-precedence>.
pub fn strength(operator: &str) -> u8 {
    match operator {
        "*" | "/" | "%" => 9,
        "+" | "-" => 8,
        "<<" | ">>" => 7,
        "&" => 6,
        "^" => 5,
        "|" => 4,
        "==" | "!=" | "<" | ">" | "<=" | ">=" => 3,
        "&&" => 2,
        "||" => 1,
        _ => 0,
    }
}

/// Whether there is a `let` in a chain of `&&`, not counting what is in parentheses.
pub fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// Whether a function returns a type that its body decides.
pub fn returns_impl(output: &syn::ReturnType) -> bool {
    struct Look(bool);
    impl Visit<'_> for Look {
        fn visit_type_impl_trait(&mut self, _: &syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut look = Look(false);
    look.visit_return_type(output);
    look.0
}
