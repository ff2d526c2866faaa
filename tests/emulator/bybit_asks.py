"""What the emulated Bybit tells one account: its orders, fills, positions, money and key, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from tests.emulator import bybit_answers as answers
from tests.emulator import bybit_market as market
from tests.emulator.bybit_acts import Acts
from tests.emulator.bybit_asked import PARAMETER, Asked, No, invalid
from tests.emulator.engine import Account, Fill, Record

_DAY = timedelta(days=1)
_OPENED_WITH = "page_args="


class Asks(Acts):
    # -- orders ----------------------------------------------------------------------------------------

    def _realtime(self, account: Account, asked: Asked) -> dict[str, Any]:
        """Open ones; by an id also those that ended lately."""
        self._known(
            asked,
            *("category", "symbol", "baseCoin", "settleCoin", "orderId", "orderLinkId", "openOnly"),
            *("orderFilter", "limit", "cursor"),
        )
        rows = asked.rows(default=20, most=50)
        wanted = asked.choice("orderFilter", "", "Order", "StopOrder", default="")
        openness = asked.whole("openOnly", 0, 1, 2) or 0
        by_id = asked.text("orderId") is not None or asked.text("orderLinkId") is not None
        if by_id and not self.doubts.needs_symbol and asked.text("symbol") is None:
            self._category(asked)
            symbols = [listing.symbol for listing in self.engine.listings()]
        else:
            symbols = self._symbols(asked)
        if by_id:
            found = self._named(account, asked)
            records = [] if found is None or not self._is_recent(account, found) else [found]
        else:
            records = [
                record
                for record in reversed(account.orders())
                if openness or record.is_open or self._queued.get(record.id)
            ]
        seen = [record for record in records if record.symbol in symbols and self._is_seen(record)]
        if wanted:
            seen = [record for record in seen if (wanted == "StopOrder") == record.is_waiting]
        return self._page(asked, seen, rows, lambda record: self._row(account, record))

    def _history(self, account: Account, asked: Asked) -> dict[str, Any]:
        """Of those that ended without a fill, one day; of the others, a week."""
        self._known(
            asked,
            *("category", "symbol", "baseCoin", "settleCoin", "orderId", "orderLinkId", "orderFilter"),
            *("orderStatus", "startTime", "endTime", "limit", "cursor"),
        )
        self._category(asked)
        rows, now = asked.rows(default=20, most=50), self.engine.now()
        start, end = asked.week(now)
        name, link, symbol = asked.text("orderId"), asked.link_id(), asked.text("symbol")
        own = None if symbol is None else self.engine.by_venue_symbol(symbol).symbol
        status = asked.text("orderStatus")
        found = [
            record
            for record in reversed(account.orders(own, open=False))
            if name in (None, answers.order_id(record))
            and link in (None, record.client_id)
            and start <= record.created_at <= end + timedelta(milliseconds=1)
            and (record.filled or now - record.updated_at < _DAY)
            and status in (None, answers.status(record))
            and self._is_seen(record, of_history=True)
        ]
        return self._page(asked, found, rows, lambda record: self._row(account, record))

    def _executions(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(
            asked,
            *("category", "symbol", "baseCoin", "settleCoin", "orderId", "orderLinkId", "startTime"),
            *("endTime", "execType", "limit", "cursor"),
        )
        self._category(asked)
        rows = asked.rows(default=50, most=100)
        start, end = asked.week(self.engine.now())
        name, link, symbol = asked.text("orderId"), asked.link_id(), asked.text("symbol")
        own = None if symbol is None else self.engine.by_venue_symbol(symbol).symbol
        trades = asked.text("execType") in (None, "Trade")
        found = [
            fill
            for fill in reversed(account.fills)
            if trades
            and own in (None, fill.symbol)
            and name in (None, answers.order_id(account.records[fill.order_id]))
            and link in (None, account.records[fill.order_id].client_id)
            and start <= fill.at <= end + timedelta(milliseconds=1)
        ]
        return self._page(asked, found, rows, lambda fill: answers.execution(account, fill))

    def _closed_pnl(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "startTime", "endTime", "limit", "cursor")
        self._category(asked)
        rows = asked.rows(default=50, most=100)
        start, end = asked.week(self.engine.now())
        symbol = asked.text("symbol")
        own = None if symbol is None else self.engine.by_venue_symbol(symbol).symbol
        closing: dict[int, list[Fill]] = {}
        for fill in account.fills:
            if fill.closed and own in (None, fill.symbol) and start <= fill.at <= end:
                closing.setdefault(fill.order_id, []).append(fill)
        found = list(reversed(closing.values()))
        return self._page(asked, found, rows, lambda fills: answers.closed(account, fills))

    # -- account ---------------------------------------------------------------------------------------

    def _positions(self, account: Account, asked: Asked) -> dict[str, Any]:
        """By symbol a row even when flat; otherwise only those that are open."""
        self._known(asked, "category", "symbol", "baseCoin", "settleCoin", "limit", "cursor")
        rows, named = asked.rows(default=20, most=200), asked.text("symbol") is not None
        if not named and asked.text("settleCoin") is None:
            raise No(PARAMETER, "Missing some parameters that must be filled in, symbol or settleCoin")
        held = [
            self.engine.listing(symbol)
            for symbol in self._symbols(asked)
            if named or not account.position(symbol).is_flat
        ]
        indexed = [(listing, index) for listing in held for index in ((1, 2) if account.hedge else (0,))]
        return self._page(
            asked,
            indexed,
            rows,
            lambda row: market.position(account, row[0], index=row[1], unset=self.doubts.unset),
        )

    def _wallet(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(asked, "accountType", "coin")
        if asked.need_text("accountType") != "UNIFIED":
            raise No(PARAMETER, "accountType only support UNIFIED.")
        coins = asked.text("coin")
        row = market.wallet(
            account,
            isolated=self._margin_mode(account) == "ISOLATED_MARGIN",
            coins=None if coins is None else set(coins.split(",")),
        )
        return {"list": [row]}

    def _info(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(asked)
        return {
            "marginMode": self._margin_mode(account),
            "updatedTime": "1767139200000",
            "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _query_api(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(asked)
        trade = account.may_trade
        moves = ["AccountTransfer", "SubMemberTransferList", "Withdraw"] if account.may_withdraw else []
        return {
            "id": "13770661",
            "note": "emulated",
            "apiKey": account.key,
            "readOnly": 0 if trade else 1,
            "secret": "",
            "permissions": {
                "ContractTrade": ["Order", "Position"] if trade else [],
                "Spot": ["SpotTrade"] if trade else [],
                "Wallet": moves,
                "Options": ["OptionsTrade"] if trade else [],
                "Derivatives": ["DerivativesTrade"] if trade else [],
                "Exchange": [],
                "Earn": [],
                "CopyTrading": [],
                "BlockTrade": [],
                "NFT": [],
                "Affiliate": [],
            },
            "ips": ["*"],
            "type": 1,
            "deadlineDay": 66,
            "expiredAt": "2027-03-01T03:00:00Z",
            "createdAt": "2026-12-01T03:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": 24617703,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": not account.subaccount,
            "parentUid": "0",
            "kycLevel": "LEVEL_DEFAULT",
            "kycRegion": "",
        }

    # -- what they share -------------------------------------------------------------------------------

    def _margin_mode(self, account: Account) -> str:
        return self.margin_modes.get(self.engine.accounts.index(account), "REGULAR_MARGIN")

    def _row(self, account: Account, record: Record) -> dict[str, Any]:
        queued = self._queued.get(record.id, 0)
        if queued:
            self._queued[record.id] = queued - 1
        return answers.order(account, record, self.note(record), queued=bool(queued))

    def _is_seen(self, record: Record, *, of_history: bool = False) -> bool:
        """An order that was taken shows a little later; the history is behind."""
        left = self._unseen.get(record.id, 0)
        if not of_history and left:
            self._unseen[record.id] = left - 1
        return left == 0 and not (of_history and self._queued.get(record.id))

    def _is_recent(self, account: Account, record: Record) -> bool:
        if record.is_open:
            return True
        ended = sorted(account.orders(open=False), key=lambda one: one.updated_at)
        return record in ended[-self.doubts.remembers :] if self.doubts.remembers else False

    def _page(self, asked: Asked, found: Sequence[Any], rows: int, shown: Any) -> dict[str, Any]:
        """The cursor is text that is percent-encoded already; encoded twice it is no cursor."""
        first, cursor = 0, asked.text("cursor")
        if cursor is not None:
            place = cursor.removeprefix(_OPENED_WITH)
            if place == cursor or not place.isdigit():
                raise invalid("cursor")
            first = int(place)
        more = len(found) > first + rows
        return {
            "category": self.category,
            "list": [shown(one) for one in found[first : first + rows]],
            "nextPageCursor": quote(f"{_OPENED_WITH}{first + rows}", safe="") if more else "",
        }
