"""What the API's answers hold, field by field, for docs/openapi.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trading.model import IntentStatus, OrderStatus, OrderType, Role, Route, Side, Source

Model = dict[str, Any]

STRING: Model = {"type": "string"}
_MAYBE: Model = {"type": ["string", "null"]}
_WHOLE: Model = {"type": "integer"}
_TRUTH: Model = {"type": "boolean"}
_DECIMAL = "^-?[0-9]+(\\.[0-9]+)?$"
_INSTANT = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$"


def ref(name: str) -> Model:
    return {"$ref": f"#/components/schemas/{name}"}


def obj(description: str = "", required: tuple[str, ...] | None = None, **properties: Model) -> Model:
    """An object of exactly these keys; all are there unless `required` names fewer."""
    told: Model = {"description": description} if description else {}
    return told | {
        "type": "object",
        "required": list(properties if required is None else required),
        "properties": properties,
        "additionalProperties": False,
    }


def _one_of(*words: str) -> Model:
    return {"type": "string", "enum": [str(word) for word in words]}


def _told(schema: Model, description: str) -> Model:
    return schema | {"description": description}


def _all(schema: Model, description: str = "") -> Model:
    return {"type": "array", "items": schema} | ({"description": description} if description else {})


_ALERT: Mapping[str, Model] = {
    "id": STRING,
    "received_at": ref("Instant"),
    "source": _one_of(*Source),
    "route": _one_of(*Route),
    "exchange": STRING,
    "subaccount": STRING,
    "ticker": STRING,
    "action": _MAYBE,
    "message": STRING,
    "status": ref("Status"),
    "reason": STRING,
}
_ORDER: Mapping[str, Model] = {
    "client_order_id": STRING,
    "venue_order_id": _MAYBE,
    "role": _one_of(*Role),
    "side": _one_of(*Side),
    "type": _one_of(*OrderType),
    "quantity": ref("Amount"),
    "price": ref("MaybeAmount"),
    "trigger_price": ref("MaybeAmount"),
    "reduce_only": _TRUTH,
    "status": _one_of(*OrderStatus),
    "filled_quantity": ref("Amount"),
    "average_price": ref("MaybeAmount"),
}
_POINT = _all({"type": ["integer", "string"]})

SCHEMAS: Mapping[str, Model] = {
    "Amount": {
        "type": "string",
        "pattern": _DECIMAL,
        "description": "A plain decimal in a string; never an exponent.",
    },
    "MaybeAmount": {
        "type": ["string", "null"],
        "pattern": _DECIMAL,
        "description": "The same; null where there is none.",
    },
    "Instant": {"type": "string", "pattern": _INSTANT, "description": "UTC, to the millisecond."},
    "MaybeInstant": {
        "type": ["string", "null"],
        "pattern": _INSTANT,
        "description": "The same; null where there is none.",
    },
    "Status": _told(_one_of(*IntentStatus), "The last six are final."),
    "Stored": obj(
        "The alert is in the database.",
        success={"const": True},
        message=STRING,
        alert_id=STRING,
        status=_told(_one_of("duplicate", "ignored", *IntentStatus), "RECEIVED where it is new."),
    ),
    "Refused": obj(
        "Nothing is traded, nothing is changed.",
        ("success", "message"),
        success={"const": False},
        message=STRING,
        field=_told(STRING, "The key that is missing or wrong."),
        mend=_told(STRING, "What to write instead."),
    ),
    "Conflict": obj(
        "Its id stands for another alert.",
        success={"const": False},
        message=STRING,
        field={"const": "id"},
        alert_id=_told(STRING, "The first one's."),
    ),
    "Switched": obj(success={"const": True}, message=STRING, halted=_TRUTH),
    "Voted": obj(success=_TRUTH, message=STRING, alert_id=STRING, status=ref("Status")),
    "Done": obj(success={"const": True}, message=STRING),
    "Sizing": obj(
        "What an entry was sized from, and to; null before it is sized.",
        **dict.fromkeys(
            ("free_collateral", "risk", "quantity", "worst_loss", "notional"), ref("MaybeAmount")
        ),
    ),
    "Order": obj(**_ORDER),
    "Event": obj(at=ref("Instant"), event=STRING, detail=STRING),
    "Alert": obj(
        "One alert. DONE: all that it asked for is on the venue and proved, the stop included.",
        **_ALERT,
        sizing=ref("Sizing"),
        orders=_all(ref("Order")),
        timeline=_all(ref("Event")),
    ),
    "AlertRow": obj(
        "One alert in a list.",
        seq=_WHOLE,
        **_ALERT,
        account=STRING,
        symbol=STRING,
        venue=_told(STRING, "PAPER: stands before it where it is simulated."),
        updated_at=ref("Instant"),
        sizing=ref("Sizing"),
        body={"type": "object", "description": "What came, without the passphrase."},
    ),
    "OrderRow": obj(
        intent_id=_told(STRING, "The alert's id."),
        venue=STRING,
        account=STRING,
        symbol=STRING,
        **_ORDER,
        reason=STRING,
        created_at=ref("Instant"),
        updated_at=ref("Instant"),
    ),
    "Position": obj(
        venue=STRING,
        account=STRING,
        symbol=STRING,
        exchange=STRING,
        direction=_one_of("LONG", "SHORT", "FLAT"),
        quantity=ref("Amount"),
        average_price=ref("MaybeAmount"),
        stop_price=ref("MaybeAmount"),
        realised_pnl=ref("Amount"),
        fees=ref("Amount"),
        intent_id=_told(_MAYBE, "The entry's alert."),
        updated_at=ref("Instant"),
    ),
    "Refusal": obj(
        seq=_WHOLE,
        at=ref("Instant"),
        route=STRING,
        code=_WHOLE,
        field=_MAYBE,
        reason=STRING,
        body=_told(STRING, "Without passphrases."),
    ),
    "Chart": obj(
        bars=_all(_POINT, "Unix seconds, open, high, low, close."),
        prices=_all(_POINT, "Unix seconds, and a price that an alert or a fill told."),
        levels=_all(obj(role=_one_of("entry", "stop", "target"), title=STRING, price=ref("Amount"))),
        marks=_all(obj(at=_WHOLE, side=_one_of(*Side), text=STRING)),
        wanted=_told(_TRUTH, "Whether asking for candles may bring more."),
        note=STRING,
    ),
    "Finding": obj(
        line=_WHOLE,
        field=_MAYBE,
        reason=STRING,
        mend=STRING,
        code=_told({"type": ["integer", "null"]}, "What the server would answer; null: it would take it."),
    ),
    "Health": obj(
        status=_one_of("ok", "failing"),
        database=_one_of("ok", "failing"),
        runner=obj(last_step_at=ref("MaybeInstant"), age_s={"type": ["number", "null"]}),
        bot=obj(last_heartbeat_at=ref("Instant"), age_s={"type": "number"}) | {"type": ["object", "null"]},
        oldest_undone_alert=obj(id=STRING, age_s={"type": "number"}, status=ref("Status"))
        | {"type": ["object", "null"]},
        halted={"type": ["boolean", "null"]},
    ),
}
