//! Puts a guard around every part of a program that may meet an unknown column, so that a yes or no is one, and `||` takes its other side.
//! Owns this rewriting of the syntax tree. Must not know: types, columns.
use crate::{
    Purpose,
    functions::{OR_FALSE, OR_NULL},
};
use vrl::parser::{
    self,
    ast::{
        Assignment, AssignmentOp, Block, Container, Expr, FunctionArgument, FunctionCall, Group, Ident,
        IfStatement, Node, Not, Op, Opcode, Predicate, RootExpr, Unary,
    },
};

/// Every place that needs a yes or no gets one, also where a column is unknown.
pub(crate) fn guard(program: parser::Program, purpose: Purpose) -> parser::Program {
    let last = program.0.len().saturating_sub(1);
    let roots = program.0.into_iter().enumerate().map(|(i, root)| {
        root.map(|root| match root {
            RootExpr::Expr(expr) if i == last => RootExpr::Expr(match purpose {
                Purpose::When => yes_or_no(expr),
                Purpose::Set(_) | Purpose::Key | Purpose::Items => call(OR_NULL, any(expr)),
            }),
            RootExpr::Expr(expr) => RootExpr::Expr(any(expr)),
            RootExpr::Error(error) => RootExpr::Error(error),
        })
    });
    parser::Program(roots.collect())
}

fn yes_or_no(node: Node<Expr>) -> Node<Expr> {
    let (span, expr) = node.take();
    let expr = match expr {
        Expr::Op(op) if matches!(op.inner().1.inner(), Opcode::And | Opcode::Or) => {
            Expr::Op(op.map(|Op(left, code, right)| {
                Op(Box::new(yes_or_no(*left)), code, Box::new(yes_or_no(*right)))
            }))
        }
        Expr::Unary(unary) => Expr::Unary(unary.map(negation)),
        Expr::Container(container) => match container.into_inner() {
            Container::Group(group) => {
                let group = group.map(|Group(inner)| Group(yes_or_no(inner)));
                Expr::Container(Node::new(span, Container::Group(Box::new(group))))
            }
            other => return call(OR_FALSE, Node::new(span, Expr::Container(Node::new(span, other)))),
        },
        Expr::IfStatement(statement) => Expr::IfStatement(statement.map(|s| choice(s, yes_or_no))),
        other => return call(OR_FALSE, any(Node::new(span, other))),
    };
    Node::new(span, expr)
}

/// Values: only what needs a yes or no inside them is guarded, and the alternatives of `||`.
fn any(node: Node<Expr>) -> Node<Expr> {
    let (span, expr) = node.take();
    let expr = match expr {
        Expr::Op(op) => match op.inner().1.inner() {
            Opcode::And => return yes_or_no(Node::new(span, Expr::Op(op))),
            Opcode::Or => Expr::Op(op.map(|Op(left, code, right)| {
                Op(Box::new(call(OR_NULL, any(*left))), code, Box::new(call(OR_NULL, any(*right))))
            })),
            Opcode::Err => Expr::Op(op),
            _ => Expr::Op(
                op.map(|Op(left, code, right)| Op(Box::new(any(*left)), code, Box::new(any(*right)))),
            ),
        },
        Expr::Unary(unary) => Expr::Unary(unary.map(negation)),
        Expr::IfStatement(statement) => Expr::IfStatement(statement.map(|s| choice(s, any))),
        Expr::Assignment(assignment) => Expr::Assignment(assignment.map(|a| match a {
            Assignment::Single { target, op: AssignmentOp::Assign, expr } => {
                let literal = matches!(expr.inner(), Expr::Literal(_));
                let expr = if literal { expr } else { Box::new(call(OR_NULL, any(*expr))) };
                Assignment::Single { target, op: AssignmentOp::Assign, expr }
            }
            other => other,
        })),
        Expr::FunctionCall(function) => Expr::FunctionCall(function.map(|mut f| {
            f.arguments = f.arguments.into_iter().map(|a| a.map(argument)).collect();
            f
        })),
        Expr::Container(container) => Expr::Container(container.map(|c| match c {
            Container::Group(group) => {
                Container::Group(Box::new(group.map(|Group(inner)| Group(any(inner)))))
            }
            other => other,
        })),
        other => other,
    };
    Node::new(span, expr)
}

fn argument(argument: FunctionArgument) -> FunctionArgument {
    FunctionArgument { ident: argument.ident, expr: any(argument.expr) }
}

fn negation(unary: Unary) -> Unary {
    let Unary::Not(not) = unary;
    let (span, not) = not.take();
    let (_, inner) = not.take();
    Unary::Not(Node::new(span, Not::new(span, yes_or_no(*inner))))
}

fn choice(statement: IfStatement, inner: fn(Node<Expr>) -> Node<Expr>) -> IfStatement {
    let block = |block: Node<Block>| {
        block.map(|Block(mut exprs)| {
            let last = exprs.pop().map(inner);
            Block(exprs.into_iter().map(any).chain(last).collect())
        })
    };
    let predicate = statement.predicate.map(|p| match p {
        Predicate::One(expr) => Predicate::One(Box::new(yes_or_no(*expr))),
        many @ Predicate::Many(_) => many,
    });
    IfStatement { predicate, if_node: block(statement.if_node), else_node: statement.else_node.map(block) }
}

fn call(name: &'static str, node: Node<Expr>) -> Node<Expr> {
    let span = node.span();
    let call = FunctionCall {
        ident: Node::new(span, Ident::new(name)),
        abort_on_error: false,
        arguments: vec![Node::new(span, FunctionArgument { ident: None, expr: node })],
        closure: None,
    };
    Node::new(span, Expr::FunctionCall(Node::new(span, call)))
}
